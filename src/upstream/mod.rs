//! (room: upstream)
