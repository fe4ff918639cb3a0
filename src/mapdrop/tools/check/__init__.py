"""`mapdrop check`: are masks bit-identical in every framework and on every device found here?"""
