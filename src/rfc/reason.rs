//! Why an answer did not come from the cache, or was not kept: one vocabulary for the log line, the metric label, the
//! `detail` of Cache-Status, `forebay explain` and the documentation.

/// Defines [`Reason`] once: variant, code, clause, sentence. Everything else is derived from the table.
macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident, $code:literal, $clause:literal, $sentence:literal;)*) => {
        /// One variant per "why". [`Reason::code`] goes onto the wire and into labels, [`Reason::clause`] names the
        /// source of the rule, [`Reason::sentence`] is for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $(#[doc = $sentence] $(#[$meta])* $variant,)* }

        impl Reason {
            /// All of them, in the order of this table.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// Short, stable, fit for a structured-field token and a metric label.
            pub const fn code(self) -> &'static str { match self { $(Reason::$variant => $code,)* } }

            /// The clause that asks for it, or `policy` where the rule is this gateway's own.
            pub const fn clause(self) -> &'static str { match self { $(Reason::$variant => $clause,)* } }

            /// One sentence for people.
            pub const fn sentence(self) -> &'static str { match self { $(Reason::$variant => $sentence,)* } }
        }
    };
}

reasons! {
    // Before the cache is asked.
    MethodNotCacheable, "method", "RFC 9110 §9.2.3", "The method is neither GET nor HEAD; the request goes to the backend.";
    RoutePass, "route-pass", "policy", "The route says `pass = true`.";
    RequestBody, "request-body", "RFC 9110 §9.3.1", "A GET with a body is not looked up: the body could change the answer.";
    DotSegments, "dot-segments", "policy", "The path holds dot segments, raw or encoded; the backend may see another path than the route did.";
    Precondition, "precondition", "RFC 9110 §13.1.1", "If-Match and If-Unmodified-Since are for the backend to evaluate.";
    SignedUrl, "signed-url", "RFC 9110 §17.9", "The query carries a signature or token; such answers belong to one client.";
    SensitivePath, "sensitive", "RFC 9111 §7.3", "The route or path is declared sensitive and is never stored.";
    KeyTooLong, "key-too-long", "policy", "The cache key would be longer than the limit.";
    HeadNotStored, "head", "RFC 9111 §4", "An answer to HEAD is not kept, and no stored answer to GET would do.";
    ForcedRefresh, "forced", "policy", "An authorised client asked for a fresh answer.";
    RequestNoStore, "request-no-store", "RFC 9111 §5.2.1.5", "The request says no-store, and the route honours request directives.";
    RequestNoCache, "request-no-cache", "RFC 9111 §5.2.1.4", "The request asks for validation, and the route honours request directives.";
    RequestMaxAge, "request-max-age", "RFC 9111 §5.2.1.1", "The stored answer is older than the request's max-age, and the route honours request directives.";
    RequestMinFresh, "request-min-fresh", "RFC 9111 §5.2.1.3", "The stored answer would not stay fresh for the request's min-fresh, and the route honours request directives.";
    OnlyIfCached, "only-if-cached", "RFC 9111 §5.2.1.7", "The request asked for a stored answer only, and none could be used.";

    // May it be stored?
    MethodNotUnderstood, "method-unknown", "RFC 9111 §3", "The method is not understood by the cache.";
    StatusNotFinal, "not-final", "RFC 9111 §3", "The status is not a final one.";
    StatusNotUnderstood, "must-understand", "RFC 9111 §5.2.2.3", "The answer says must-understand and its status is not understood.";
    StatusNotListed, "status-not-listed", "policy", "The status is not in the route's `storable_status`.";
    ResponseNoStore, "no-store", "RFC 9111 §5.2.2.5", "The answer says no-store.";
    ResponsePrivate, "private", "RFC 9111 §5.2.2.7", "The answer is for one user; this is a shared cache.";
    Authorization, "authorization", "RFC 9111 §3.5", "The request carried Authorization and the answer does not permit sharing.";
    SetCookie, "set-cookie", "RFC 9111 §7.3", "The answer sets a cookie, and the route does not say `store_set_cookie = true`.";
    NoFreshness, "no-freshness", "RFC 9111 §3", "The answer has neither a lifetime, nor a validator, nor a status that is cacheable by default.";
    VaryStar, "vary-star", "RFC 9111 §4.1", "The answer says Vary: *, so it matches no later request.";
    PartialContent, "partial", "RFC 9111 §3.3", "The answer is a part of a representation; only wholes are stored.";
    TooLarge, "too-large", "policy", "The body is larger than `max_object`.";
    Truncated, "truncated", "RFC 9111 §3.3", "The body ended early; an incomplete answer is not stored.";
    CloseDelimited, "close-delimited", "RFC 9112 §8", "The body ended with the connection, so its completeness cannot be known.";
    EndlessStream, "endless", "policy", "The answer is an event stream: it is passed on as it comes and has no end to wait for.";
    AmbiguousFraming, "framing", "RFC 9112 §6.3", "The answer was framed in two ways at once; it is passed on decoded and not stored.";
    UnkeyedInput, "unkeyed-input", "policy", "The profile is strict and the request carried something the key does not name.";
    TypeMismatch, "type-mismatch", "policy", "The path's extension and the answer's Content-Type disagree, so the route's ttl does not apply.";
    PurgedMeanwhile, "purged-meanwhile", "policy", "A change was applied after the fetch began; the answer may predate it.";
    NotAdmitted, "not-admitted", "policy", "The entry is heavier than the memory allows.";

    // May it be used?
    Stale, "stale", "RFC 9111 §4.2", "The stored answer is no longer fresh.";
    NoCache, "no-cache", "RFC 9111 §5.2.2.4", "The stored answer must be validated before each use.";
    MustRevalidate, "must-revalidate", "RFC 9111 §5.2.2.2", "The stored answer is stale and must not be used without validation.";
    VaryMismatch, "vary-miss", "RFC 9111 §4.1", "There are stored answers for the URL, but none for these request fields.";
    Purged, "purged", "policy", "The stored answer predates a purge that names it.";
    SoftPurged, "soft-purged", "policy", "The stored answer predates a soft purge that names it; it counts as stale.";
    CheckMark, "check", "policy", "The stored answer must be validated: changes may have been missed.";

    Blind, "blind", "policy", "The log of changes is out of sight: the stored answer must be confirmed, or was served unconfirmed because it could not be.";
    Barrier, "barrier", "policy", "Forebay-Barrier names a change that this node cannot show to have applied, so the backend is asked.";
    BadBarrier, "bad-barrier", "policy", "Forebay-Barrier is not of the form epoch-number; it was ignored.";

    // Refusals of the front door.
    BadHost, "bad-host", "RFC 9112 §3.2", "Host is missing, doubled or malformed.";
    UnknownHost, "unknown-host", "RFC 9110 §7.4", "The Host is none that this gateway serves.";
    BadTarget, "bad-target", "RFC 9112 §3.2", "The request target is malformed.";
    BadFraming, "bad-framing", "RFC 9112 §6", "The request's framing is ambiguous.";
    BadConnection, "bad-connection", "RFC 9110 §7.6.1", "Connection names a field that must not be hop-by-hop.";
    BadExpect, "bad-expect", "RFC 9110 §10.1.1", "The expectation is not one that can be met.";
    MethodRefused, "method-refused", "RFC 9110 §9", "The method is not accepted here.";
    UpgradeRefused, "upgrade", "RFC 9110 §7.8", "Protocol upgrades (WebSocket) are not passed on.";
    UriTooLong, "uri-too-long", "RFC 9110 §15.5.15", "The request target is longer than the limit.";
    BodyTooLarge, "body-too-large", "RFC 9110 §15.5.14", "The request's body is larger than the limit.";
    RequestStalled, "request-stalled", "RFC 9110 §15.5.9", "The client stopped sending its request's body, or sends it too slowly.";
    LoopDetected, "loop", "RFC 8586", "The request has already passed through this gateway.";
    AddressRefused, "address", "policy", "The client's address is not on the route's allow list.";
    RateLimited, "rate-limited", "RFC 6585 §4", "The client is over its rate.";
    TooManyRequests, "too-many", "policy", "Too many requests of this client or route are under way.";
    Unauthorized, "unauthorized", "RFC 9110 §15.5.2", "The request needs a token it does not carry.";

    // What went wrong behind.
    BackendRefused, "connect", "RFC 9110 §15.6.3", "No connection to the backend could be made.";
    BackendTimeout, "timeout", "RFC 9110 §15.6.5", "The backend did not answer in time.";
    BackendBroken, "broken", "RFC 9110 §15.6.3", "The backend's answer was malformed or broke off.";
    BackendSaturated, "saturated", "RFC 9110 §15.6.4", "The backend's concurrency cap and queue are full.";
    BreakerOpen, "breaker", "policy", "The backend has failed repeatedly and is being left alone for a moment.";
    WaitTimeout, "wait-timeout", "policy", "Waiting for another request's fetch took too long.";
    StaleIfError, "sie", "RFC 5861 §4", "The backend failed and a stale answer was permitted.";
    StaleWhileRevalidate, "swr", "RFC 5861 §3", "A stale answer was served while it is refreshed behind the client.";
    Internal, "internal", "policy", "Something failed inside the gateway; the log has the details.";
}
