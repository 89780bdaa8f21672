"""Jobs that keep the maps of a whole data set fresh."""
