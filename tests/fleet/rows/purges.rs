//! Purges that have to reach every node while something on the way fails.
