//! The policy as the rest of the house uses it: compile, route, key.
