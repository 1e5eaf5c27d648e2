use h2::client::SendRequest;

use super::*;

/// A client with its connection running in a task, which ends when the connection does.
struct Http2 {
    requests: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

fn room() -> Room {
    Room::with(|settings| settings.h2c = true)
}

impl Http2 {
    async fn connect(room: &Room) -> Self {
        Self::over(room.connect().0, h2::client::Builder::new()).await
    }

    /// `window` is how much of each answer the client takes before it has read it.
    async fn with_window(room: &Room, window: u32) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        Self::over(room.connect().0, builder).await
    }

    async fn over<T>(stream: T, builder: h2::client::Builder) -> Self
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        Self { requests, connection: tokio::spawn(connection) }
    }

    async fn asks(&mut self, path: &str) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::get(format!("http://t{path}")).body(()).unwrap();
        let mut ready = self.requests.clone().ready().await.unwrap();
        ready.send_request(request, false).unwrap()
    }

    /// The whole body of the answer.
    async fn gets(&mut self, path: &str) -> Result<Vec<u8>, h2::Error> {
        let (answer, mut request) = self.asks(path).await;
        request.send_data(Bytes::new(), true)?;
        read(answer).await
    }
}

async fn read(answer: h2::client::ResponseFuture) -> Result<Vec<u8>, h2::Error> {
    let mut body = answer.await?.into_body();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all)
}

#[tokio::test(start_paused = true)]
async fn in_the_clear_the_preface_decides() {
    let room = room();
    let mut http2 = Http2::connect(&room).await;
    assert_eq!(http2.gets("/a").await.unwrap(), b"/a");
    let mut http1 = room.connect();
    for piece in ["P", "RI", "VATE /b HTTP/1.1\r\nHost: t\r\n\r\n"] {
        http1.sends(piece).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    http1.reads_until("/b").await;
    let mut silent = room.connect();
    assert_eq!(silent.reads_to_the_end().await, (String::new(), 10));
    assert_eq!(room.count("first_byte_timeouts"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_arrives_whole() {
    let room = room();
    let mut client = Http2::connect(&room).await;
    assert_eq!(client.gets("/long").await.unwrap().len(), 160 * 64 * 1024);
    assert_eq!(client.gets("/large").await.unwrap().len(), 1024 * 1024);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_told_to_go() {
    let room = room();
    let mut client = Http2::connect(&room).await;
    client.gets("/a").await.unwrap();
    let began = room.house.clock.now();
    client.connection.await.unwrap().unwrap();
    assert_eq!((room.house.clock.now().since(began).as_secs(), room.count("idle_timeouts")), (60, 1));
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_request_in_flight_is_not_idle() {
    let room = room();
    let mut client = Http2::connect(&room).await;
    let (answer, mut request) = client.asks("/hold").await;
    request.send_data(Bytes::new(), true).unwrap();
    room.probe.held().await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    room.probe.release();
    assert_eq!(read(answer).await.unwrap(), b"held");
    client.connection.await.unwrap().unwrap();
    assert_eq!(room.count("idle_timeouts"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_client_takes_nothing_is_reset_alone() {
    stalls("/long").await;
    // One large chunk, which h2 would otherwise take as a whole.
    stalls("/large").await;
}

async fn stalls(path: &str) {
    let room = room();
    let mut client = Http2::with_window(&room, 1000).await;
    let (stalled, mut request) = client.asks(path).await;
    request.send_data(Bytes::new(), true).unwrap();
    let mut body = stalled.await.unwrap().into_body();
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(room.count("write_timeouts"), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(room.count("write_timeouts"), 1);
    assert_eq!(client.gets("/a").await.unwrap(), b"/a");
    let error = loop {
        match body.data().await {
            Some(Ok(_)) => (),
            Some(Err(error)) => break error,
            None => panic!("a cut answer looks complete"),
        }
    };
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_is_given_up() {
    let room = room();
    let mut client = Http2::connect(&room).await;
    let (answer, mut request) = client.asks("/echo").await;
    request.send_data(Bytes::from_static(b"abc"), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!((answer.status(), room.count("body_timeouts")), (StatusCode::REQUEST_TIMEOUT, 1));
}

#[tokio::test(start_paused = true)]
async fn request_trailers_are_dropped() {
    let room = room();
    let mut client = Http2::connect(&room).await;
    let (answer, mut request) = client.asks("/echo").await;
    request.send_data(Bytes::from_static(b"abc"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert(header::AUTHORIZATION, HeaderValue::from_static("x"));
    request.send_trailers(trailers).unwrap();
    assert_eq!(read(answer).await.unwrap(), b"abc");
}

#[tokio::test(start_paused = true)]
async fn opening_streams_only_to_reset_them_ends_the_connection() {
    let room = room();
    let client = Http2::connect(&room).await;
    let mut sent = 0;
    let mut requests = client.requests.clone();
    while sent < 1000 {
        let Ok(ready) = requests.ready().await else { break };
        requests = ready;
        let request = Request::get("http://t/hold").body(()).unwrap();
        let Ok((_, mut stream)) = requests.send_request(request, true) else { break };
        tokio::task::yield_now().await;
        stream.send_reset(h2::Reason::CANCEL);
        sent += 1;
    }
    let _ = client.connection.await.unwrap();
    assert!(sent < 1000, "{sent}");
    assert!(room.count("requests") < 500, "{}", room.count("requests"));
}

#[tokio::test(start_paused = true)]
async fn cancelling_now_and_then_is_fine() {
    let room = room();
    let mut client = Http2::connect(&room).await;
    for _ in 0..300 {
        let (_, mut request) = client.asks("/hold").await;
        request.send_data(Bytes::new(), true).unwrap();
        room.probe.held().await;
        request.send_reset(h2::Reason::CANCEL);
        client.gets("/a").await.unwrap();
        client.gets("/b").await.unwrap();
    }
    assert_eq!(room.count("h2_floods"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_streams_finish() {
    let room = room();
    let mut client = Http2::connect(&room).await;
    let mut answers = Vec::new();
    for _ in 0..50 {
        let (answer, mut request) = client.asks("/hold").await;
        request.send_data(Bytes::new(), true).unwrap();
        answers.push(answer);
        room.probe.held().await;
    }
    room.drain().begin();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(client.requests.clone().ready().await.is_err(), "no new stream after GOAWAY");
    for answer in answers {
        room.probe.release();
        assert_eq!(read(answer).await.unwrap(), b"held");
    }
    client.connection.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn too_long_a_field_list_is_refused() {
    let room = room();
    let client = Http2::connect(&room).await;
    let request = Request::get("http://t/a").header("a", "b".repeat(20_000)).body(()).unwrap();
    let mut ready = client.requests.ready().await.unwrap();
    let (answer, _) = ready.send_request(request, true).unwrap();
    assert!(answer.await.map_or(true, |answer| answer.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    assert_eq!(room.count("requests"), 0);
}
