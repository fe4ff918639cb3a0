"""`mapdrop bench`: dropout here against every framework's own, and against what bounds both."""
