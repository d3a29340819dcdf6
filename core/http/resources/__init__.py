"""The resources that the route table names, one module for each kind of thing."""
