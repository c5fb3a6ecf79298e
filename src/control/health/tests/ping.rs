//! The `ping` check over the loopback interface.

use super::*;

#[tokio::test]
async fn the_loopback_addresses_answer_where_pings_are_allowed() {
    for address in ["127.0.0.1:0", "127.8.9.10:0", "[::1]:0"] {
        match run(HealthCheck::Ping, address.parse().unwrap()).await {
            Outcome::Good(how) => assert_eq!(how, "answers pings"),
            // Neither root nor a group of ping_group_range; or a host without IPv6.
            Outcome::NotRun(why) => assert!(why.starts_with("pings need CAP_NET_RAW"), "{address}: {why}"),
            Outcome::Failed(reason) => assert!(address.starts_with('['), "{reason}"),
        }
    }
}

#[tokio::test]
async fn many_pings_at_once_do_not_take_each_others_answers() {
    let all: Vec<_> = (1..=200_u8)
        .map(|last| tokio::spawn(async move { run(HealthCheck::Ping, SocketAddr::from(([127, 0, 1, last], 0))).await }))
        .collect();
    for one in all {
        let outcome = one.await.unwrap();
        assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
    // This network is for documentation: nobody answers, if there is a way there at all.
    match run(HealthCheck::Ping, "192.0.2.99:0".parse().unwrap()).await {
        Outcome::Failed(_) => {}
        Outcome::NotRun(why) => assert!(why.starts_with("pings need"), "{why}"),
        Outcome::Good(how) => panic!("{how}"),
    }
}
