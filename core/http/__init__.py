"""The HTTP interface: one route table, one access rule a route, problems as RFC 9457 has them."""
