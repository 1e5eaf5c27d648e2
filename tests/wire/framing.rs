//! SM-01 to SM-17: requests whose end two readers could see in different places.

use super::house::{Attack, House, Wants, attack};

const BAD: Wants = Wants::Refused(&[400]);

/// A POST with these field lines and this body.
fn post(fields: &str, body: &str, wants: Wants) -> Attack {
    attack(fields.escape_debug().to_string(), format!("POST /p HTTP/1.1\r\nHost: t\r\n{fields}\r\n{body}"), wants)
}

/// A chunked POST with this body.
fn chunked(what: &str, body: impl AsRef<[u8]>, wants: Wants) -> Attack {
    let head = b"POST /p HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    attack(what, [head.as_slice(), body.as_ref()].concat(), wants)
}

const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

#[tokio::test]
async fn sm_01_02_length_and_chunks_in_one_request() {
    let hidden = "GPOST / HTTP/1.1\r\nHost: t\r\nContent-Length: 15\r\n\r\nx=";
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let house = House::start().await;
    house
        .withstands_all([
            post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG", Wants::Either),
            post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", "0\r\n\r\nG", Wants::Either),
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                "5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n",
                Wants::Either,
            ),
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &chunk, Wants::Either),
        ])
        .await;
}

#[tokio::test]
async fn sm_03_to_07_lengths_that_are_none() {
    let evil = "GET /evil HTTP/1.1\r\nHost: t\r\n\r\n";
    let junk = ["+5", "-0", "0x5", "5_0", "5 5", "", "5.0", "\u{0665}", "5, 5", "5, 6", ",5", "5;", "\"5\"", "five"];
    let huge = [
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1000000000000000000000000000000000000000",
    ];
    let house = House::start().await;
    house
        .withstands_all([
            post("Content-Length: 0\r\nContent-Length: 31\r\n", evil, BAD),
            post("Content-Length: 31\r\nContent-Length: 0\r\n", evil, BAD),
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", Wants::Either),
            post("Content-Length: \r\nContent-Length: 5\r\n", "hello", BAD),
            post("Content-Length: 5\r\n", "hello", Wants::Served(1)),
        ])
        .await;
    house.withstands_all(junk.map(|length| post(&format!("Content-Length: {length}\r\n"), "hello", BAD))).await;
    house
        .withstands_all(
            huge.map(|length| post(&format!("Content-Length: {length}\r\n"), "x", Wants::Refused(&[400, 413, 431]))),
        )
        .await;
}

#[tokio::test]
async fn sm_08_09_codings_that_are_not_exactly_chunked() {
    let codings = [
        "xchunked",
        "identity",
        "chunked;q=1",
        "\"chunked\"",
        "chu nked",
        "chunked, chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "gzip, chunked",
        ",chunked",
        "chunked,",
        "chunked, identity",
        "gzip",
        "",
    ];
    let house = House::start().await;
    house.withstands_all(codings.map(|coding| post(&format!("Transfer-Encoding: {coding}\r\n"), CHUNKS, BAD))).await;
    house
        .withstands_all(
            ["chunked", "Chunked"]
                .map(|coding| post(&format!("Transfer-Encoding: {coding}\r\n"), CHUNKS, Wants::Served(1))),
        )
        .await;
}

#[tokio::test]
async fn sm_10_to_12_fields_that_only_some_take_for_framing() {
    let mut attacks: Vec<_> = [
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n",
        "Transfer-Encoding: chunked\u{b}\r\n",
        "Transfer-Encoding:\0chunked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Content_Length: 5\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n GET /evil HTTP/1.1\r\n",
        "Content-Length : 5\r\n",
        "\rTransfer-Encoding: chunked\r\n",
        "X: x\rTransfer-Encoding: chunked\r\n",
    ]
    .map(|field| post(field, CHUNKS, BAD))
    .into();
    let bytes: [&[u8]; 3] = [
        b"Transfer-Encoding:\x85chunked\r\n",
        b"Transfer-Encoding:\xa0chunked\r\n",
        b"Transfer-Encoding\xad: chunked\r\n",
    ];
    attacks.extend(bytes.map(|field| {
        let parts = [b"POST /p HTTP/1.1\r\nHost: t\r\n", field, b"\r\n", CHUNKS.as_bytes()];
        attack(String::from_utf8_lossy(field), parts.concat(), BAD)
    }));
    // A bare LF ends the line for hyper: then it is a coding like any other, and goes out with CR LF.
    attacks.push(post("X: x\nTransfer-Encoding: chunked\r\n", CHUNKS, Wants::Either));
    House::start().await.withstands_all(attacks).await;
}

#[tokio::test]
async fn sm_13_14_chunks_that_are_none() {
    let sizes =
        ["0x5", "+5", "-5", "5_0", " 5", "", "5 0", "10000000000000005", "FFFFFFFFFFFFFFED", "g", "5\u{b}", "\u{ff15}"];
    let mut attacks: Vec<_> = sizes
        .map(|size| {
            chunked(&format!("size {size:?}"), format!("{size}\r\nhello\r\n0\r\n\r\n"), Wants::Broken(&[400, 408]))
        })
        .into();
    attacks.extend([
        chunked("a size with zeros before it", "0000000005\r\nhello\r\n0\r\n\r\n", Wants::Served(1)),
        chunked("longer than its size", "5\r\nhello, world\r\n0\r\n\r\n", Wants::Broken(&[400])),
        chunked("XX instead of CR LF", "5\r\nhelloXX0\r\n\r\n", Wants::Broken(&[400])),
        chunked("an empty line too many", "5\r\nhello\r\n\r\n0\r\n\r\n", Wants::Broken(&[400])),
        chunked("a bare LF after the data", "5\r\nhello\n0\r\n\r\n", Wants::Broken(&[400])),
        chunked("a bare LF after the size", "5\nhello\r\n0\r\n\r\n", Wants::Broken(&[400])),
        chunked("a bare CR after the size", "5\rhello\r\n0\r\n\r\n", Wants::Broken(&[400])),
        chunked("a bare LF at the end", "5\r\nhello\r\n0\n\n", Wants::Broken(&[400])),
        chunked("no last CR LF", "5\r\nhello\r\n0\r\n", Wants::Broken(&[400, 408])),
    ]);
    let house = House::start().await;
    house.withstands_all(attacks).await;
    let whole = house.backend.since(0).iter().filter(|seen| seen.target() == "/p" && seen.complete).count();
    assert_eq!(whole, 1, "something malformed was sent on as whole");
}

#[tokio::test]
async fn sm_15_extensions_of_chunks() {
    let long = |length: usize| format!("5;a={}\r\nhello\r\n0\r\n\r\n", "x".repeat(length));
    let many = format!("{}0\r\n\r\n", format!("1;a={}\r\nx\r\n", "y".repeat(1000)).repeat(40));
    House::start()
        .await
        .withstands_all([
            chunked("an extension", "5;evil=\"x\"\r\nhello\r\n0;evil\r\n\r\n", Wants::Served(1)),
            chunked("LF in an extension", "5;\nGET /evil\r\nhello\r\n0\r\n\r\n", Wants::Broken(&[400])),
            chunked("CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", Wants::Broken(&[400])),
            chunked("CR before an extension", "5\r;x\r\nhello\r\n0\r\n\r\n", Wants::Broken(&[400])),
            chunked("64 KiB of extension", long(64 * 1024), Wants::Broken(&[400])),
            chunked("40 KiB in 40 extensions", many, Wants::Broken(&[400])),
        ])
        .await;
}

#[tokio::test]
async fn sm_16_trailers_are_dropped() {
    let trailers = |fields: &str| format!("5\r\nhello\r\n0\r\n{fields}\r\n");
    let mut attacks: Vec<_> = [
        "Content-Length: 9\r\n",
        "Transfer-Encoding: x\r\n",
        "Host: evil\r\n",
        "Authorization: evil\r\n",
        "X-Canary: evil\r\n",
    ]
    .map(|field| chunked(field.trim(), trailers(field), Wants::Served(1)))
    .into();
    attacks.extend([
        chunked("64 KiB of trailers", trailers(&format!("A: {}\r\n", "evil".repeat(16 * 1024))), Wants::Broken(&[400])),
        chunked("2,000 trailers", trailers(&"A: evil\r\n".repeat(2000)), Wants::Broken(&[400])),
    ]);
    let house = House::start().await;
    house.withstands_all(attacks).await;
    let seen = house.backend.since(0);
    assert!(seen.iter().all(|seen| !seen.complete || seen.target() != "/p" || seen.body == b"hello"), "{seen:#?}");
}

#[tokio::test]
async fn sm_17_http_1_0() {
    let evil = "GET /evil HTTP/1.1\r\nHost: t\r\n\r\n";
    let house = House::start().await;
    house
        .withstands_all([
            attack(
                "1.0 chunked",
                format!("POST /p HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKS}"),
                BAD,
            ),
            attack("1.0 without a length", format!("POST /p HTTP/1.0\r\nHost: t\r\n\r\n{evil}"), Wants::Served(1)),
            attack(
                "1.0 with a length",
                "POST /p HTTP/1.0\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
                Wants::Served(1),
            ),
        ])
        .await;
    // Kept alive without a length: what follows is another request, as it says, or nothing at all.
    let mut client = house.connect().await;
    client.send("POST /p HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\nhello, this is no request\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "POST /p");
    if let Some(answer) = client.next("GET").await {
        assert_eq!(answer.status, 400);
    }
}
