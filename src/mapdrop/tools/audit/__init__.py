"""`mapdrop audit`: which dropout stands where in a model, and what is wrong with it."""
