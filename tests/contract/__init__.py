"""One suite for the fake and the real thing: what passes here may be believed of the fake elsewhere."""
