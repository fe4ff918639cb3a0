"""What a pattern does, in numbers and as a picture: `mapdrop explain`."""
