//! Interim answers: 103 goes through, and RS-09: there is an end to them.

use super::backend::{Gate, says};
use super::house::House;

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
const FINAL: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn hints_arrive_before_the_answer_and_are_not_stored() {
    let house = House::start().await;
    let gate = Gate::new();
    house.backend.on("/hint", says(HINT).then_holds(&gate).then(FINAL));
    let mut client = house.connect().await;
    client.ask("GET", "/hint").await;
    let hint = client.head().await.unwrap();
    assert!(hint.starts_with("HTTP/1.1 103 ") && hint.to_ascii_lowercase().contains("link: </style.css>"), "{hint}");
    gate.open();
    let answer = client.answer().await;
    assert_eq!((answer.status, &*answer.text(), answer.interim.len()), (200, "hello", 0));
    let again = client.get("/hint").await;
    assert!(again.is_hit() && again.interim.is_empty(), "{again:?}");
}

#[tokio::test]
async fn an_old_client_is_spared_hints() {
    let house = House::start().await;
    house.backend.on("/hint", says(HINT).then(FINAL));
    let mut client = house.connect().await;
    client.send("GET /hint HTTP/1.0\r\nHost: t\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &*answer.text(), answer.interim.len()), (200, "hello", 0), "{answer:?}");
}

#[tokio::test]
async fn rs_09_there_is_an_end_to_interim_answers() {
    let house = House::start().await;
    for (count, status) in [(8, 200), (9, 502), (1000, 502)] {
        let path = house.fresh("hints");
        house.backend.on(&path, says(HINT.repeat(count)).then(FINAL));
        let answer = house.get(&path).await;
        assert_eq!(answer.status, status, "{count}: {answer:?}");
        assert!(answer.interim.len() <= 8, "{count}: {} came through", answer.interim.len());
        house.fence("hints").await;
    }
    // 100 and 102 are nothing special; 199 is none that anybody knows.
    for code in ["100 Continue", "102 Processing", "199 Odd"] {
        let path = house.fresh("hints");
        house.backend.on(&path, says(format!("HTTP/1.1 {code}\r\n\r\n{FINAL}")));
        let answer = house.get(&path).await;
        assert_eq!((answer.status, &*answer.text()), (200, "hello"), "{code}: {answer:?}");
    }
    house.victim_is_unharmed("hints").await;
}
