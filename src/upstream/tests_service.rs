//! A backend in this process, on paused time: patience, places, retries, breakers, health.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tower::service_fn;

use super::*;
use crate::breaker::{BreakerSettings, BreakerState};
use crate::clock::Clock;

/// What the backend does with one request.
#[derive(Clone)]
enum Act {
    /// Answers with this status and body.
    Reply(u16, &'static str),
    /// Never answers.
    Hang,
    /// Fails in this way.
    Fail(FetchErrorKind),
    /// Answers 200 with these fields and a body of these steps.
    Stream(&'static [(&'static str, &'static str)], &'static [Step]),
    /// Sends this many 103, then answers 200.
    Hints(u32),
    /// Reads the request's body, then answers 200.
    ReadThenReply,
}

/// One step of a body.
#[derive(Clone, Copy)]
enum Step {
    Data(&'static str),
    Wait(u64),
    Trailer(&'static str, &'static str),
    Break,
}

/// A backend that acts by a script, one act per request; the last one is repeated.
#[derive(Clone)]
struct Script {
    acts: Arc<Mutex<VecDeque<Act>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn new(acts: &[Act]) -> Self {
        Self { acts: Arc::new(Mutex::new(acts.iter().cloned().collect())), asked: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn transport(&self) -> Transport {
        let script = self.clone();
        Transport::Service(Service::new(service_fn(move |request: Request<OutBody>| {
            let act = {
                let mut acts = script.acts.lock().unwrap();
                if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() }
            };
            script.asked.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            async move { act.unwrap().play(request).await }
        })))
    }
}

impl Act {
    async fn play(self, request: Request<OutBody>) -> Result<Response<OutBody>, BoxError> {
        match self {
            Act::Reply(status, text) => Ok(Response::builder().status(status).body(full(text)).unwrap()),
            Act::Hang => std::future::pending().await,
            Act::Fail(kind) => Err(Box::new(FetchError::new(kind, "as the script says"))),
            Act::Stream(fields, steps) => {
                let mut response = Response::builder();
                for (name, value) in fields {
                    response = response.header(*name, *value);
                }
                Ok(response.body(Steps::new(steps).boxed_unsync()).unwrap())
            }
            Act::Hints(count) => {
                let interims = request.extensions().get::<Interims>().unwrap().clone();
                for _ in 0..count {
                    interims.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
                }
                Ok(Response::new(full("late")))
            }
            Act::ReadThenReply => {
                // In a task of its own, as a connection does.
                let read = tokio::spawn(request.into_body().collect()).await??.to_bytes().len();
                Ok(Response::new(full(if read > 0 { "read" } else { "nothing" })))
            }
        }
    }
}

fn full(text: &'static str) -> OutBody {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(|never: Infallible| match never {}).boxed_unsync()
}

struct Steps {
    steps: std::slice::Iter<'static, Step>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Steps {
    fn new(steps: &'static [Step]) -> Self {
        Self { steps: steps.iter(), pause: None }
    }
}

impl Body for Steps {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            return Poll::Ready(match self.steps.next() {
                None => None,
                Some(Step::Data(text)) => Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))),
                Some(Step::Trailer(name, value)) => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert(*name, value.parse().unwrap());
                    Some(Ok(Frame::trailers(trailers)))
                }
                Some(Step::Break) => Some(Err("broken".into())),
                Some(Step::Wait(seconds)) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_secs(*seconds))));
                    continue;
                }
            });
        }
    }
}

fn settings() -> OriginSettings {
    OriginSettings { name: "api".to_owned(), ..OriginSettings::default() }
}

fn origin(settings: OriginSettings, script: &Script) -> Arc<Origin> {
    Origin::new(settings, script.transport(), Clock::starting_at(Duration::from_secs(1_700_000_000)))
}

fn get() -> Request<OutBody> {
    Request::builder().uri("/p?q").header("host", "client.example").body(empty_body()).unwrap()
}

fn post(body: OutBody) -> Request<OutBody> {
    Request::builder().method(Method::POST).uri("/p").body(body).unwrap()
}

/// Fetches, reads the body to its end, and tells both in one line.
async fn told(origin: &Origin) -> String {
    match origin.fetch(get(), true, None).await {
        Ok(fetched) => {
            let status = fetched.head.status.as_u16();
            match fetched.body.collect().await {
                Ok(body) => format!("{status} {}", String::from_utf8_lossy(&body.to_bytes())),
                Err(error) => format!("{status} then {}", error.kind.name()),
            }
        }
        Err(error) => error.kind.name().to_owned(),
    }
}

fn endpoints(count: usize) -> Vec<Endpoint> {
    (0..count).map(|index| Endpoint { https: false, authority: format!("e{index}"), weight: 1 }).collect()
}

#[test]
fn a_fetch_can_be_spawned() {
    fn assert_send<T: Send>(_: &T) {}
    let origin = origin(settings(), &Script::new(&[Act::Hang]));
    assert_send(&origin.fetch(get(), true, None));
    assert_send(&Arc::clone(&origin).watch(std::future::pending()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_tells_when_it_was_asked_for_and_when_it_came() {
    let script = Script::new(&[Act::Reply(200, "hello")]);
    let origin = origin(settings(), &script);
    let fetched = origin.fetch(get(), true, None).await.unwrap();
    assert_eq!((fetched.framing, fetched.body.exact_length()), (Framing::ContentLength, Some(5)));
    assert_eq!(fetched.endpoint, 0);
    assert!(fetched.sent <= fetched.received);
    assert_eq!(fetched.sent.wall.as_secs(), 1_700_000_000);
    assert_eq!(fetched.body.collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(*script.asked.lock().unwrap(), ["GET http://client.example/p?q"]);
}

#[tokio::test(start_paused = true)]
async fn bodies_end_well_or_say_that_they_did_not() {
    use Step::{Break, Data, Trailer, Wait};
    const LENGTH: &[(&str, &str)] = &[("content-length", "6")];
    const BOTH: &[(&str, &str)] = &[("content-length", "3"), ("transfer-encoding", "chunked")];
    for (fields, steps, expected) in [
        (LENGTH, &[Data("abc"), Data("def")][..], "200 abcdef"),
        (LENGTH, &[Data("abc")], "200 then truncated"), // RS-04
        (LENGTH, &[Data("abc"), Break], "200 then truncated"),
        (LENGTH, &[Data("abcdefg")], "200 then bad-response"),
        (&[], &[Data("abc")], "200 abc"),
        (&[], &[Data("abc"), Break], "200 then truncated"),
        (&[], &[Data("a"), Trailer("x", "y")], "200 a"),
        (BOTH, &[Data("abcdef")], "200 abcdef"),
        (LENGTH, &[Data("abc"), Wait(9), Data("d"), Wait(9), Data("ef")], "200 abcdef"), // slow, but alive
        (LENGTH, &[Data("abc"), Wait(11), Data("def")], "200 then idle-timeout"),        // G-03
        (&[("transfer-encoding", "gzip")], &[], "bad-response"),
        (&[("content-length", "x")], &[], "bad-response"),
    ] {
        let origin = origin(settings(), &Script::new(&[Act::Stream(fields, steps)]));
        assert_eq!(told(&origin).await, expected);
        assert_eq!(origin.state().in_flight, 0, "{expected}: nothing is held afterwards");
        assert_eq!(origin.state().endpoints[0].in_flight, 0, "{expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_are_passed_through() {
    let acts = [Act::Stream(&[], &[Step::Data("a"), Step::Trailer("x-sum", "1")])];
    let fetched = origin(settings(), &Script::new(&acts)).fetch(get(), true, None).await.unwrap();
    assert_eq!(fetched.body.collect().await.unwrap().trailers().unwrap()["x-sum"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_slow_is_not_a_backend_that_is_silent() {
    let acts = [Act::Stream(&[], &[Step::Data("a"), Step::Wait(1), Step::Data("b")])];
    let mut body = origin(settings(), &Script::new(&acts)).fetch(get(), true, None).await.unwrap().body;
    assert!(body.frame().await.unwrap().is_ok());
    assert!(tokio::time::timeout(Duration::ZERO, body.frame()).await.is_err(), "the silence has begun");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "b");
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn in_process_http_1_0_without_a_length_is_close_delimited() {
    let transport = Transport::Service(Service::new(service_fn(|_: Request<OutBody>| async {
        let mut response = Response::new(full("x"));
        *response.version_mut() = Version::HTTP_10;
        Ok::<_, BoxError>(response)
    })));
    let origin = Origin::new(settings(), transport, Clock::starting_at(Duration::ZERO));
    let fetched = origin.fetch(get(), true, None).await.unwrap();
    assert_eq!((fetched.framing, fetched.body.exact_length()), (Framing::CloseDelimited, None));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_is_given_up_after_the_first_byte_timeout() {
    let origin = origin(settings(), &Script::new(&[Act::Hang]));
    let before = origin.clock.now();
    assert_eq!(told(&origin).await, "first-byte-timeout"); // G-02
    assert_eq!(origin.clock.now().since(before).as_secs(), 10);
    assert_eq!(origin.state().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_is_dropped_lets_go_at_once() {
    let origin = origin(settings(), &Script::new(&[Act::Hang]));
    let fetch = origin.fetch(get(), true, None);
    assert!(tokio::time::timeout(Duration::from_secs(1), fetch).await.is_err());
    assert_eq!((origin.state().in_flight, origin.state().endpoints[0].in_flight), (0, 0));
    assert_eq!(origin.state().endpoints[0].breaker, BreakerState::Admitting, "leaving says nothing about the backend");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_uploads_slowly_does_not_make_the_backend_late() {
    const SLOW: &[Step] = &[Step::Data("a"), Step::Wait(30), Step::Data("b"), Step::Wait(30)];
    let origin = origin(settings(), &Script::new(&[Act::ReadThenReply]));
    let fetched = origin.fetch(post(Steps::new(SLOW).boxed_unsync()), false, None).await.unwrap();
    assert_eq!(fetched.body.collect().await.unwrap().to_bytes(), "read");
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_body_fails_is_to_blame_itself() {
    const BROKEN: &[Step] = &[Step::Data("a"), Step::Break];
    let settings = OriginSettings { breaker: BreakerSettings { consecutive: 1, ..Default::default() }, ..settings() };
    let origin = origin(settings, &Script::new(&[Act::ReadThenReply]));
    let error = origin.fetch(post(Steps::new(BROKEN).boxed_unsync()), false, None).await.unwrap_err();
    assert_eq!((error.kind, error.unreachable()), (FetchErrorKind::RequestBody, false));
    assert_eq!(origin.state().endpoints[0].breaker, BreakerState::Admitting);
}

#[tokio::test(start_paused = true)]
async fn places_are_bounded_and_so_is_the_queue() {
    let settings = OriginSettings { max_concurrent: 2, max_queue: 1, ..settings() };
    let origin = origin(settings, &Script::new(&[Act::Reply(200, "x")]));
    let first = origin.fetch(get(), true, None).await.unwrap();
    assert_eq!(origin.state().in_flight, 1, "an unread body keeps its place");
    let second = origin.fetch(get(), true, None).await.unwrap();

    let waiting = tokio::spawn({
        let origin = Arc::clone(&origin);
        async move { told(&origin).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(origin.state().waiting, 1);
    let before = origin.clock.now();
    assert_eq!(told(&origin).await, "saturated", "the queue is full");
    assert_eq!(origin.clock.now(), before, "at once");

    drop(first);
    assert_eq!(waiting.await.unwrap(), "200 x", "a place became free");
    assert_eq!(second.body.collect().await.unwrap().to_bytes(), "x");
    assert_eq!((origin.state().in_flight, origin.state().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_has_an_end() {
    let settings = OriginSettings { max_concurrent: 1, ..settings() };
    let origin = origin(settings, &Script::new(&[Act::Reply(200, "x")]));
    let _kept = origin.fetch(get(), true, None).await.unwrap();
    let before = origin.clock.now();
    assert_eq!(told(&origin).await, "saturated");
    assert_eq!(origin.clock.now().since(before).as_millis(), 1000);
    assert_eq!(origin.state().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_cannot_be_reached_is_replaced_by_another() {
    use FetchErrorKind::{Closed, Connect, ConnectTimeout};
    let hello = Act::Reply(200, "hello");
    for (count, retries, acts, expected, asked) in [
        (2, 1, vec![Act::Fail(Connect), hello.clone()], "200 hello", 2),
        (2, 1, vec![Act::Fail(ConnectTimeout), hello.clone()], "200 hello", 2),
        (2, 0, vec![Act::Fail(Connect), hello.clone()], "connect", 1),
        (1, 1, vec![Act::Fail(Connect), hello.clone()], "connect", 1), // the same one again would be of no use
        (3, 1, vec![Act::Fail(Connect), Act::Fail(Connect), hello.clone()], "connect", 2),
        (3, 2, vec![Act::Fail(Connect), Act::Fail(Connect), hello.clone()], "200 hello", 3),
        (2, 5, vec![Act::Fail(Connect)], "connect", 2),
        (2, 1, vec![Act::Fail(Closed), hello.clone()], "closed", 1), // it may have been acted upon
        (2, 1, vec![Act::Hang, hello.clone()], "first-byte-timeout", 1),
        (2, 1, vec![Act::Reply(503, "no"), hello.clone()], "503 no", 1),
        (2, 1, vec![Act::Stream(&[("content-length", "9")], &[Step::Break]), hello], "200 then truncated", 1),
    ] {
        let script = Script::new(&acts);
        let origin = origin(OriginSettings { endpoints: endpoints(count), retries, ..settings() }, &script);
        assert_eq!(told(&origin).await, expected);
        assert_eq!(script.asked(), asked, "{expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_keep_to_their_budget() {
    let settings = OriginSettings {
        endpoints: endpoints(2),
        breaker: BreakerSettings { consecutive: u32::MAX, failure_percent: 101, ..Default::default() },
        ..settings()
    };
    let script = Script::new(&[Act::Fail(FetchErrorKind::Connect)]);
    let origin = origin(settings, &script);
    for _ in 0..1000 {
        assert_eq!(told(&origin).await, "connect");
    }
    assert_eq!(script.asked(), 1000 + 110, "a tenth, and the reserve of ten");
    assert_eq!(origin.state().retries, 110);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_body_is_not_repeated_once_the_body_is_gone() {
    let script = Script::new(&[Act::Fail(FetchErrorKind::Connect), Act::Reply(200, "x")]);
    let origin = origin(OriginSettings { endpoints: endpoints(2), ..settings() }, &script);
    let error = origin.fetch(post(full("abc")), false, None).await.unwrap_err();
    assert_eq!((error.kind, script.asked()), (FetchErrorKind::Connect, 1));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_keeps_failing_is_left_alone_and_then_tried_again() {
    let mut acts = vec![Act::Fail(FetchErrorKind::Connect); 5];
    acts.push(Act::Reply(200, "back"));
    let script = Script::new(&acts);
    let origin = origin(settings(), &script);
    for _ in 0..5 {
        assert_eq!(told(&origin).await, "connect");
    }
    assert_eq!(told(&origin).await, "breaker-open");
    assert_eq!((script.asked(), origin.state().endpoints[0].breaker), (5, BreakerState::Refusing));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(told(&origin).await, "200 back");
    assert_eq!(origin.state().endpoints[0].breaker, BreakerState::Probing);
    assert_eq!((told(&origin).await.as_str(), told(&origin).await.as_str()), ("200 back", "200 back"));
    assert_eq!(origin.state().endpoints[0].breaker, BreakerState::Admitting);
}

#[tokio::test(start_paused = true)]
async fn which_answers_count_as_failures() {
    for (act, expected) in [
        (Act::Reply(500, ""), BreakerState::Admitting), // one faulty resource, not a faulty backend
        (Act::Reply(404, ""), BreakerState::Admitting),
        (Act::Reply(502, ""), BreakerState::Refusing),
        (Act::Reply(503, ""), BreakerState::Refusing),
        (Act::Reply(504, ""), BreakerState::Refusing),
        (Act::Hang, BreakerState::Refusing),
        (Act::Stream(&[("transfer-encoding", "gzip")], &[]), BreakerState::Refusing),
        (Act::Fail(FetchErrorKind::Connect), BreakerState::Refusing),
        (Act::Fail(FetchErrorKind::RequestBody), BreakerState::Admitting),
    ] {
        // A window that opens at the first failure: what counts as one shows in the state.
        let breaker = BreakerSettings { consecutive: 1, min_outcomes: 1, ..Default::default() };
        let origin = origin(OriginSettings { breaker, ..settings() }, &Script::new(&[act]));
        let told = told(&origin).await;
        assert_eq!(origin.state().endpoints[0].breaker, expected, "{told}");
    }
}

/// Whoever finds a URL that makes the backend hang up must not shut it off for everybody by asking for it five times.
#[tokio::test(start_paused = true)]
async fn one_bad_url_asked_for_in_a_row_does_not_open_the_breaker() {
    for act in [Act::Fail(FetchErrorKind::Closed), Act::Reply(503, ""), Act::Hang] {
        let origin = origin(settings(), &Script::new(&[act]));
        for _ in 0..10 {
            told(&origin).await;
        }
        assert_eq!(origin.state().endpoints[0].breaker, BreakerState::Admitting);
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_break_off_count_as_failures_too() {
    let acts = [Act::Stream(&[("content-length", "9")], &[Step::Data("a")])];
    let origin = origin(settings(), &Script::new(&acts));
    for _ in 0..10 {
        assert_eq!(told(&origin).await, "200 then truncated");
    }
    assert_eq!(told(&origin).await, "breaker-open", "ten of twenty outcomes");
}

#[tokio::test(start_paused = true)]
async fn interim_answers_are_passed_on_up_to_a_bound() {
    for (count, expected) in [(0, Ok(0)), (8, Ok(8)), (9, Err(8)), (1000, Err(8))] {
        let seen = Arc::new(AtomicUsize::new(0));
        let sink: InterimSink = Arc::new({
            let seen = Arc::clone(&seen);
            move |status, _| {
                assert_eq!(status, StatusCode::EARLY_HINTS);
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        let origin = origin(settings(), &Script::new(&[Act::Hints(count)]));
        let fetched = origin.fetch(get(), true, Some(sink)).await;
        let seen = seen.load(Ordering::Relaxed);
        match fetched {
            Ok(_) => assert_eq!(Ok(seen), expected),
            Err(error) => {
                assert_eq!(error.kind, FetchErrorKind::BadResponse); // RS-09
                assert_eq!(Err(seen), expected);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn active_checks_pass_over_the_unwell_and_bring_back_the_well() {
    // The first endpoint fails its checks from second 10 to second 40. The clients' requests always succeed.
    let clock = Clock::starting_at(Duration::ZERO);
    let times = clock.clone();
    let transport = Transport::Service(Service::new(service_fn(move |request: Request<OutBody>| {
        let seconds = times.now().mono.as_secs();
        let unwell =
            request.uri().path() == "/health" && request.uri().host() == Some("e0") && (10..40).contains(&seconds);
        async move {
            let status = if unwell { 500 } else { 200 };
            Ok::<_, BoxError>(Response::builder().status(status).body(full("x")).unwrap())
        }
    })));
    let health = HealthSettings { path: "/health".to_owned(), ..HealthSettings::default() };
    let settings = OriginSettings { endpoints: endpoints(2), health: Some(health), ..settings() };
    let origin = Origin::new(settings, transport, clock.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watch = tokio::spawn(Arc::clone(&origin).watch(async move { drop(stopped.await) }));

    let healthy = || origin.state().endpoints[0].healthy;
    tokio::time::sleep(Duration::from_secs(19)).await;
    assert!(healthy(), "two bad checks, at 10 and 15");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!healthy(), "three bad checks in a row");
    for _ in 0..4 {
        assert_eq!(origin.fetch(get(), true, None).await.unwrap().endpoint, 1);
    }
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(healthy(), "two good checks in a row, at 40 and 45");
    stop.send(()).unwrap();
    watch.await.unwrap();
}
