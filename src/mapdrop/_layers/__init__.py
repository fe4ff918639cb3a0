"""What the layers of every framework share."""
