//! What probes and scrapers ask: `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};

use super::body::Paged;
use super::refusal::Refusal;
use super::routes::blocking;
use crate::control::metrics::{self, Pages};
use crate::control::serve::Shared;
use crate::control::status::{PortStatus, Wellness};

/// The management loop looks at the workers each second; without a look for so long it hangs.
const LOOK_AGE_MAX: Duration = Duration::from_secs(10);

/// Whether the process and its workers move.
pub async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    answer(unwell(&shared))
}

/// Whether packets would be balanced.
pub async fn readyz(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let mut reasons = unwell(&shared);
    let callback = {
        let manager = shared.manager();
        reasons.extend(manager.unready());
        manager.ports_callback()
    };
    let ports = blocking(move || callback()).await?;
    let is_down = |port: &&PortStatus| !port.link_up;
    reasons.extend(ports.iter().filter(is_down).map(|port| format!("the link of port {} is down", port.name)));
    Ok(answer(reasons))
}

fn unwell(shared: &Shared) -> Vec<String> {
    let vitals = shared.vitals();
    let age = vitals.looked.elapsed();
    let mut reasons = Vec::new();
    if age > LOOK_AGE_MAX {
        reasons.push(format!("the management loop has not turned for {} s", age.as_secs()));
    }
    reasons.extend(vitals.stalled.iter().map(|worker| format!("worker {worker} does not turn")));
    reasons
}

fn answer(reasons: Vec<String>) -> Response {
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Wellness { ok: reasons.is_empty(), reasons })).into_response()
}

/// All metrics, in the text format of Prometheus.
pub async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let door = shared.door().counts();
    let sources = shared.manager().metric_sources(door);
    let basis = blocking(move || sources.prepare()).await?;
    let body = Body::new(Paged(Pages::new(basis)));
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], body).into_response())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::control::fixture::{CONFIG, edited, file, manager};

    async fn said(response: Response) -> (u16, Vec<String>) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let wellness: Wellness = serde_json::from_slice(&body).unwrap();
        assert_eq!(wellness.ok, wellness.reasons.is_empty());
        (status, wellness.reasons)
    }

    fn shared(config: &str) -> Arc<Shared> {
        let dir = tempfile::tempdir().unwrap();
        let manager = manager(&file(dir.path(), "tidegate.toml", config));
        manager.worker_handles().iter().for_each(|worker| worker.counters.generation.set(1));
        Shared::new(manager)
    }

    #[tokio::test]
    async fn what_does_not_move_is_named() {
        let shared = shared(CONFIG);
        assert_eq!(said(healthz(State(shared.clone())).await).await, (200, vec![]));
        for _ in 0..6 {
            shared.manager().watch_workers();
        }
        let stalled = shared.manager().stalled();
        shared.looked(stalled);
        let (status, reasons) = said(healthz(State(shared.clone())).await).await;
        assert_eq!(
            (status, reasons),
            (503, vec!["worker 0 does not turn".to_owned(), "worker 1 does not turn".into()])
        );
        assert_eq!(said(readyz(State(shared)).await.unwrap()).await.0, 503);
    }

    #[tokio::test]
    async fn ready_is_who_has_links_workers_and_a_backend() {
        let ready = async |shared: &Arc<Shared>| said(readyz(State(shared.clone())).await.unwrap()).await;
        let good = shared(CONFIG);
        assert_eq!(ready(&good).await, (200, vec![]));
        good.manager().worker_handles()[1].counters.generation.set(0);
        let idle = "worker 1 has not taken the configuration yet".to_owned();
        assert_eq!(ready(&good).await, (503, vec![idle]));
        let down = "state = \"down\"\n";
        let none = edited(&[
            ("port = 8080\n", &format!("port = 8080\n{down}")),
            ("weight = 50\n", down),
            ("address = \"2001:db8:1::1\"\n", &format!("address = \"2001:db8:1::1\"\n{down}")),
        ]);
        let reason = "no service has a backend that takes new connections".to_owned();
        assert_eq!(ready(&shared(&none)).await, (503, vec![reason]));
    }
}
