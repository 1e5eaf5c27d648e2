//! PA-01 to PA-12: how strictly the head of a request is read.

use super::backend::Seen;
use super::house::{Attack, FORGIVING, House, IMPATIENT, Wants, attack};

const BAD: Wants = Wants::Refused(&[400]);

fn raw(bytes: &str, wants: Wants) -> Attack {
    attack(bytes.chars().take(80).collect::<String>().escape_debug().to_string(), bytes, wants)
}

fn get(fields: &str, wants: Wants) -> Attack {
    raw(&format!("GET /p HTTP/1.1\r\n{fields}\r\n"), wants)
}

fn target(target: &str, wants: Wants) -> Attack {
    raw(&format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n"), wants)
}

#[tokio::test]
async fn pa_01_02_the_request_line() {
    const H: &str = "Host: t\r\n\r\n";
    let line = |line: &str, wants| raw(&format!("{line}\r\n{H}"), wants);
    House::start()
        .await
        .withstands_all([
            line("GET  /p HTTP/1.1", BAD),
            line("GET\t/p HTTP/1.1", BAD),
            line("GET /p  HTTP/1.1", BAD),
            line("GET /p HTTP/1.1 x", BAD),
            line("GET /p HTTP/1.1 ", BAD),
            line("GET /p http/1.1", BAD),
            line("GET /p HTTP/1.2", Wants::Refused(&[400, 505])),
            line("GET /p HTTP/2.0", Wants::Broken(&[400, 505])),
            line("GET /p HTTP/0.9", Wants::Broken(&[400, 505])),
            line("GET /p HTTP/01.1", BAD),
            line("GET /p HTTP/1.1\r", BAD),
            line("GET /p", BAD),
            line(" GET /p HTTP/1.1", BAD),
            line("/p HTTP/1.1", BAD),
            raw(&format!("\r\nGET /p HTTP/1.1\r\n{H}"), Wants::Served(1)),
            raw(&format!("GET /p HTTP/1.1\r\n {H}"), BAD),
            raw(&format!("GET /p HTTP/1.1\r\n\t{H}"), BAD),
        ])
        .await;
}

#[tokio::test]
async fn pa_02_07_lines_that_end_oddly() {
    let house = House::start().await;
    // hyper takes a bare LF for the end of a line. What goes out must have CR LF; a cached page is no proof, so ask anew.
    for (number, bytes) in [
        "\r\n\r\n\r\nGET /odd HTTP/1.1\r\nHost: t\r\n\r\n",
        "\nGET /odd HTTP/1.1\r\nHost: t\r\n\r\n",
        "GET /odd HTTP/1.1\nHost: t\n\n",
        "GET /odd HTTP/1.1\r\nHost: t\nX: y\r\n\n",
    ]
    .iter()
    .enumerate()
    {
        house.withstands(&raw(&bytes.replace("/odd", &format!("/odd{number}")), Wants::Either)).await;
    }
}

#[tokio::test]
async fn pa_03_control_bytes_anywhere() {
    let house = House::start().await;
    for byte in (0u8..0x20).chain([0x7f]) {
        let place = |before: &str, after: &str| [before.as_bytes(), &[byte], after.as_bytes()].concat();
        // LF ends a line, so it makes two of one; TAB is allowed inside a value.
        if byte != b'\n' {
            house
                .withstands(&attack(
                    format!("{byte:#x} in a name"),
                    place("GET /p HTTP/1.1\r\nHost: t\r\nX", "Y: z\r\n\r\n"),
                    BAD,
                ))
                .await;
        }
        if !matches!(byte, b'\n' | b'\t') {
            house
                .withstands(&attack(
                    format!("{byte:#x} in a value"),
                    place("GET /p HTTP/1.1\r\nHost: t\r\nX: y", "z\r\n\r\n"),
                    BAD,
                ))
                .await;
        }
        house
            .withstands(&attack(
                format!("{byte:#x} in the target"),
                place("GET /p", "q HTTP/1.1\r\nHost: t\r\n\r\n"),
                BAD,
            ))
            .await;
        house
            .withstands(&attack(
                format!("{byte:#x} in the method"),
                place("GE", "T /p HTTP/1.1\r\nHost: t\r\n\r\n"),
                BAD,
            ))
            .await;
    }
}

#[tokio::test]
async fn pa_04_05_fields_and_hosts_that_are_none() {
    let house = House::start().await;
    let fields =
        ["no colon", ": x", "a b: x", "a(b: x", "a/b: x", "a[b: x", "a{b: x", "a,b: x", "a\"b: x", "a@b: x", "ä: x"];
    house.withstands_all(fields.map(|field| get(&format!("Host: t\r\n{field}\r\n"), BAD))).await;
    let name = "n".repeat(70_000);
    house.withstands(&get(&format!("Host: t\r\n{name}: x\r\n"), Wants::Refused(&[400, 431]))).await;
    let hosts = [
        "", "a, b", "a b", "u@a", "a/b", "a#b", "a?b", "a:", "a:99999", "a:x", "a:-1", "[::1", "[::g]", "a[b]", "a\\b",
        "..", "a..b", "%61", "a;b", "a:80:80", "ä", "\"a\"", "<a>",
    ];
    house.withstands_all(hosts.map(|host| get(&format!("Host: {host}\r\n"), BAD))).await;
    house
        .withstands_all([
            get("", BAD),
            get("Host: t\r\nHost: t\r\n", BAD),
            get("Host: t\r\nHost: u\r\n", BAD),
            get("Host: a\0.b\r\n", BAD),
            raw("GET /p HTTP/1.0\r\n\r\n", BAD),
            raw("GET http://t/p HTTP/1.1\r\n\r\n", BAD),
            raw("GET http://t/p HTTP/1.1\r\nHost: a b\r\n\r\n", BAD),
        ])
        .await;
}

#[tokio::test]
async fn pa_06_hosts_that_are_not_served() {
    let house = House::with(&format!("{IMPATIENT}{FORGIVING}[gateway]\nhosts = [\"t\", \"*.example.com\"]\n")).await;
    let wrong = Wants::Refused(&[421]);
    house
        .withstands_all([
            get("Host: evil\r\n", wrong),
            get("Host: example.com\r\n", wrong),
            get("Host: t.evil\r\n", wrong),
            raw("GET http://evil/p HTTP/1.1\r\nHost: t\r\n\r\n", wrong),
            raw("GET http://t/p HTTP/1.1\r\nHost: evil\r\n\r\n", Wants::Served(1)),
            // Another port is another page, unless the list says which.
            get("Host: t:8080\r\n", Wants::Served(1)),
            raw("GET /q HTTP/1.1\r\nHost: a.example.com\r\n\r\n", Wants::Served(1)),
        ])
        .await;
}

#[tokio::test]
async fn pa_08_heads_that_are_too_large() {
    let large = Wants::Refused(&[431]);
    House::start()
        .await
        .withstands_all([
            get(&format!("Host: t\r\n{}", "A: b\r\n".repeat(101)), large),
            get(&format!("Host: t\r\nA: {}\r\n", "x".repeat(33 * 1024)), large),
            get(&format!("Host: t\r\n{}", format!("A: {}\r\n", "x".repeat(1000)).repeat(64)), large),
            target(&format!("/{}", "u".repeat(8 * 1024)), Wants::Refused(&[414])),
            target(&format!("/{}", "u".repeat(64 * 1024)), Wants::Refused(&[414, 431])),
            raw(&format!("{} / HTTP/1.1\r\nHost: t\r\n\r\n", "M".repeat(64 * 1024)), Wants::Refused(&[400, 431])),
            target(&format!("/{}", "u".repeat(8 * 1024 - 1)), Wants::Served(1)),
        ])
        .await;
}

#[tokio::test]
async fn pa_09_10_targets_are_refused_or_passed_byte_for_byte() {
    let house = House::start().await;
    let refused = [
        "*",
        "",
        "http:///p",
        "//host/x",
        "//",
        "/a b",
        "p",
        "ftp://t/p",
        "/a\u{7f}",
        "?q",
        "#f",
        "/ä",
        "t:80",
        "evil",
        "u@t",
        "http:p",
    ];
    house.withstands_all(refused.map(|bytes| target(bytes, BAD))).await;
    for bytes in [
        "/a/%",
        "/a/%zz",
        "/a/%00",
        "/a/%0d%0a",
        "/a/../b",
        "/a/./b",
        "/a//b",
        "/%61",
        "/a%2fb",
        "/a;x=1",
        "/a?",
        "/a?b#c",
        "/a/%2e%2e/b",
        "/a|b",
        "/a~b",
        "/a?x=/../y",
        "/a\\b",
        "/a\"b",
        "/a^b",
        "/a`b",
        "/a{b}",
        "/a<b>",
        "/a?x='y'",
    ] {
        let before = house.backend.count();
        let mut client = house.connect().await;
        client.ask("GET", bytes).await;
        let answer = client.answer().await;
        house.fence(bytes).await;
        let seen = house.heard_since(before, bytes);
        if answer.status == 400 {
            assert!(seen.is_empty(), "{bytes}: {seen:?}");
            continue;
        }
        // PA-10: what comes after `#` is cut before key, route and backend alike.
        let sent = bytes.split('#').next().unwrap();
        assert_eq!((answer.status, answer.text()), (200, format!("GET {sent}")), "{bytes}");
        assert_eq!(seen.iter().map(Seen::target).collect::<Vec<_>>(), [sent], "{bytes}");
        let again = house.get(bytes).await;
        // What a backend could resolve to another path is not kept.
        let path = sent.split('?').next().unwrap();
        let dots = path.contains("/.") || path.contains("/%2e");
        assert_eq!((again.text(), again.is_hit()), (format!("GET {sent}"), !dots), "{bytes}");
    }
    house.victim_is_unharmed("targets").await;
}

#[tokio::test]
async fn pa_11_sm_23_methods_that_are_none_of_ours() {
    let refused = Wants::Refused(&[405]);
    let method = |method: &str| raw(&format!("{method} /p HTTP/1.1\r\nHost: t\r\n\r\n"), refused);
    let house = House::start().await;
    let long = "M".repeat(100);
    house
        .withstands_all(["TRACE", "TRACK", "DEBUG", "get", "Get", "gET", "PURGE", "G!ET", "G'", &long].map(method))
        .await;
    house
        .withstands_all([
            raw("CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n", refused),
            raw("G=\":<> /p HTTP/1.1\r\nHost: t\r\n\r\n", BAD),
            raw("G\u{e9}T /p HTTP/1.1\r\nHost: t\r\n\r\n", BAD),
            raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Wants::Broken(&[400, 405, 505])),
        ])
        .await;
    for (number, method) in ["OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "X-Y"].iter().enumerate() {
        let path = format!("/m{number}");
        house.withstands(&raw(&format!("{method} {path} HTTP/1.1\r\nHost: t\r\n\r\n"), Wants::Served(1))).await;
        assert!(!house.get(&path).await.is_hit(), "{method} was kept for GET");
    }
}

#[tokio::test]
async fn pa_12_what_is_not_http() {
    let house = House::start().await;
    let garbage: Vec<u8> = (0..1024 * 1024u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    house
        .withstands_all([
            attack("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), Wants::Broken(&[400])),
            attack(
                "PROXY",
                "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /evil HTTP/1.1\r\nHost: t\r\n\r\n",
                Wants::Broken(&[400]),
            ),
            attack("PROXY 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), Wants::Broken(&[400])),
            attack(
                "a preface",
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
                Wants::Broken(&[400, 405, 505]),
            ),
            attack("1 MiB of anything", garbage, Wants::Broken(&[400, 431])),
        ])
        .await;
}

/// O6: what is turned away is counted.
#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let house = House::start().await;
    house.withstands_all([get("Host: a b\r\n", BAD), get("a b: c\r\n", BAD), target("//x", BAD)]).await;
    let metrics = house.metrics().await;
    for reason in ["bad-host", "bad-target"] {
        let line = format!("forebay_reasons_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.lines().any(|one| one == line), "{reason} is not counted:\n{metrics}");
    }
}
