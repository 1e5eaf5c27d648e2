//! Redis is there and refuses: full, another password, a replica, loading, too many clients, the wrong certificate.
