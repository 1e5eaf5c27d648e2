//! RFC 9111 §4.1: which of the stored answers fits a request.

use crate::talk::{Talk, secs};

/// The backend answers by language.
async fn fetches(t: &Talk, language: &str, body: &'static str) {
    t.origin("/p").replies(body).with("cache-control: max-age=3600").with("vary: Accept-Language");
    t.get("/p").with(&format!("accept-language: {language}")).await.is(body).cache_has("stored");
}

#[tokio::test(start_paused = true)]
async fn each_variant_is_kept_and_found_again() {
    let t = Talk::new();
    fetches(&t, "de", "hallo").await;
    fetches(&t, "fr", "salut").await;
    for (language, body) in [("de", "hallo"), ("fr", "salut")] {
        t.get("/p").with(&format!("accept-language: {language}")).await.is(body).cache("hit; ttl=3600; detail=memory");
    }
    t.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn a_miss_among_variants_says_so() {
    let t = Talk::new();
    fetches(&t, "de", "hallo").await;
    t.get("/p").with("accept-language: en").await.cache("fwd=vary-miss; fwd-status=200; stored");
    t.get("/p").await.cache("fwd=vary-miss; fwd-status=200; stored");
    t.get("/p").await.cache("hit; ttl=3600; detail=memory");
    t.get("/p").with("accept-language:").await.cache("fwd=vary-miss; fwd-status=200; stored");
}

#[tokio::test(start_paused = true)]
async fn whitespace_and_lines_of_a_list_do_not_make_a_variant() {
    let t = Talk::new();
    fetches(&t, "de, en;q=0.5", "hallo").await;
    for same in [&["de,en;q=0.5"][..], &["de ,  en;q=0.5"], &["de", "en;q=0.5"]] {
        let asking = same.iter().fold(t.get("/p"), |asking, line| asking.with(&format!("accept-language: {line}")));
        asking.await.is("hallo").cache("hit; ttl=3600; detail=memory");
    }
    // Order and case may matter to the backend.
    for other in ["en;q=0.5, de", "DE, en;q=0.5"] {
        t.get("/p").with(&format!("accept-language: {other}")).await.cache_has("fwd=vary-miss");
    }
}

#[tokio::test(start_paused = true)]
async fn all_named_fields_count_whichever_line_names_them() {
    let t = Talk::new();
    t.origin("/p").replies("1").with("cache-control: max-age=60").with("vary: X-A, x-b").with("vary: X-C");
    t.get("/p").with("x-a: 1").with("x-b: 1").with("x-c: 1").await.is("1");
    t.get("/p").with("x-c: 1").with("x-b: 1").with("x-a: 1").with("x-d: 1").await.cache_has("hit");
    for missing in ["x-a", "x-b", "x-c"] {
        let asking = t.get("/p").with("x-a: 1").with("x-b: 1").with("x-c: 1").without(missing);
        asking.await.cache("fwd=vary-miss; fwd-status=200; stored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_star_is_never_matched_even_by_the_same_request() {
    super::check("", "accept: a", "cache-control: max-age=60 | vary: *", "vary-star").await;
    super::check("", "accept: a", "cache-control: max-age=60 | vary: accept | vary: *", "vary-star").await;
    super::check("", "accept: a", "cache-control: max-age=60 | vary: what is this", "vary-star").await;
}

#[tokio::test(start_paused = true)]
async fn beyond_the_cap_the_oldest_variant_goes() {
    for (config, cap) in [("", 32), ("[memory]\nmax_variants = 3\n", 3)] {
        let t = Talk::with(config);
        for language in 0..=cap {
            fetches(&t, &language.to_string(), "body").await;
            t.advance(secs(1)).await;
        }
        for language in (1..=cap).rev() {
            t.get("/p").with(&format!("accept-language: {language}")).await.cache_has("hit");
        }
        t.origin("/p").was_asked(cap + 1);
        t.get("/p").with("accept-language: 0").await.cache("fwd=vary-miss; fwd-status=200; stored");
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_variants_leave_no_more_than_the_cap() {
    let t = Talk::new();
    t.origin("/p").replies("body").with("cache-control: max-age=3600").with("vary: Cookie");
    for visitor in 0..2_000 {
        t.get("/p").with(&format!("cookie: id={visitor}")).await;
    }
    let listed = t.gateway.store().list(&forebay::store::Filter::default(), 100_000);
    assert_eq!(listed.len(), 32);
}

/// An answer that names more fields shows that those before it were too coarse.
#[tokio::test(start_paused = true)]
async fn a_vary_that_grows_takes_the_place_of_the_old_answers() {
    let t = Talk::new();
    t.origin("/p").replies("plain").with("cache-control: max-age=10");
    t.get("/p").with("accept-language: de").await.is("plain");
    t.advance(secs(11)).await;
    fetches(&t, "de", "hallo").await;
    fetches(&t, "fr", "salut").await;
    t.get("/p").with("accept-language: de").await.is("hallo").cache_has("hit");
    t.get("/p").with("accept-language: en").await.cache_has("fwd=vary-miss");
}

#[tokio::test(start_paused = true)]
async fn a_vary_that_goes_away_makes_one_answer_for_all() {
    let t = Talk::new();
    fetches(&t, "de", "hallo").await;
    t.advance(secs(1)).await;
    t.origin("/p").replies("for all").with("cache-control: max-age=3600");
    t.get("/p").with("accept-language: fr").await.is("for all");
    t.get("/p").with("accept-language: it").await.is("for all").cache_has("hit");
    // §4.1: of several that match, the most recent.
    t.get("/p").with("accept-language: de").await.is("for all").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn accept_encoding_is_reduced_to_few_values_before_it_selects() {
    let t = Talk::new();
    t.origin("/p").replies("packed").with("cache-control: max-age=60").with("vary: Accept-Encoding");
    t.get("/p").with("accept-encoding: gzip, deflate, br;q=0.8, x-odd").await.is("packed");
    assert_eq!(t.origin("/p").asked_last().headers["accept-encoding"], "br, gzip");
    for same in ["br, gzip", "gzip,br", "GZIP;q=0.1, BR", "br;q=1.000 , gzip, identity;q=0.5", "gzip, br, zstd;q=0"] {
        t.get("/p").with(&format!("accept-encoding: {same}")).await.cache_has("hit");
    }
    t.origin("/p").was_asked(1);
    for other in ["gzip", "br", "zstd, br, gzip"] {
        t.get("/p").with(&format!("accept-encoding: {other}")).await.cache("fwd=vary-miss; fwd-status=200; stored");
    }
    t.get("/p").await.cache("fwd=vary-miss; fwd-status=200; stored");
    t.get("/p").with("accept-encoding: *").await.cache_has("hit");
    // Nothing that is understood is the same as nothing.
    for nothing in ["identity", "deflate, x-odd", "gzip;q=0", "br;q=0.0001"] {
        t.get("/p").with(&format!("accept-encoding: {nothing}")).await.cache_has("hit");
        assert!(!t.origin("/p").asked_last().headers.contains_key("accept-encoding"));
    }
    t.origin("/p").was_asked(5);
}

#[tokio::test(start_paused = true)]
async fn each_variant_is_validated_by_its_own_validator() {
    let t = Talk::new();
    for (language, etag) in [("de", "etag: \"de\""), ("fr", "etag: \"fr\"")] {
        let path = t.origin("/p").replies(language).with("cache-control: max-age=10").with("vary: Accept-Language");
        path.with(etag);
        t.get("/p").with(&format!("accept-language: {language}")).await.is(language);
    }
    t.advance(secs(11)).await;
    t.get("/p").with("accept-language: fr").await.is("fr").cache_has("fwd-status=304");
    assert_eq!(t.origin("/p").asked_last().headers["if-none-match"], "\"fr\"");
    // The other one is as stale as before.
    t.get("/p").with("accept-language: de").await.cache_has("fwd=stale");
    assert_eq!(t.origin("/p").asked_last().headers["if-none-match"], "\"de\"");
}

#[tokio::test(start_paused = true)]
async fn two_cold_variants_are_not_mistaken_for_one_another_while_they_are_fetched() {
    let t = Talk::new();
    let first = t.origin("/p").holds();
    let second = t.origin("/p").holds();
    let german = t.get("/p").with("accept-language: de").start();
    t.settle().await;
    let french = t.get("/p").with("accept-language: fr").start();
    t.settle().await;
    t.origin("/p").was_asked(1);
    first.replies("hallo", &["cache-control: max-age=60", "vary: Accept-Language"]);
    german.await.unwrap().is("hallo");
    t.settle().await;
    second.replies("salut", &["cache-control: max-age=60", "vary: Accept-Language"]);
    french.await.unwrap().is("salut");
    t.origin("/p").was_asked(2);
}
