//! What HTTP permits.
mod cache_status;
mod coding;
mod conditional;
mod etag;
mod fields;
mod groups;
mod range;
mod reason;
mod time;
mod update;
mod vary;
pub use cache_status::{CacheStatus, Forward};
pub use coding::{Accepted, Coding};
pub use conditional::{
    Precondition, Validators, if_range_matches, not_modified_headers, precondition, strip_conditionals,
};
pub use etag::{ETag, ETags, etags};
pub use fields::{
    append_cdn_loop, append_via, names_us, singleton, strip_hop_by_hop_request, strip_hop_by_hop_response,
};
pub use groups::{Names, cache_tags, group_invalidation, groups, read_cache_tags, read_groups};
pub use range::{Multipart, Ranges, content_range, ranges, unsatisfied_range};
pub use reason::Reason;
pub use time::Moment;
pub use update::{HeadEffect, head_updates, merge, updates};
pub use vary::{Vary, VaryKey};
