//! The API on TCP: its files, and whom it lets in.

use std::net::IpAddr;

use super::draft::Draft;
use super::identity::Identity;
use super::model_api::Api;
use super::source::{Findings, Span};
use super::token::{self, Token};

/// Places of the values of `[control.api]`; `None` where one is left out or bad.
#[derive(Default)]
pub struct ApiSpans {
    pub listen: Option<Span>,
    pub token_file: Option<Span>,
    pub tls_cert: Option<Span>,
    pub tls_key: Option<Span>,
    pub open_reads: Option<Span>,
}

/// Notes what is wrong, and puts what is in the files into the configuration.
pub fn check(draft: &mut Draft, findings: &mut Findings) {
    let (api, spans) = (&mut draft.config.control.api, &draft.api);
    if let (Some(path), Some(span)) = (&api.token_file, &spans.token_file) {
        match Token::read(path) {
            Ok(token) => {
                if token::is_open_to_all(path) {
                    let shown = path.display();
                    findings.warning(span, format!("everybody on this machine can read {shown}: chmod o-r {shown}"));
                }
                api.token = Some(token);
            }
            Err(fault) => findings.error(span, format!("`token_file` {} {fault}", path.display())),
        }
    }
    match (&api.tls_cert, &spans.tls_cert, &spans.tls_key) {
        (Some(certificate), Some(span), _) => {
            match Identity::read(certificate, api.tls_key.as_ref().unwrap_or(certificate)) {
                Ok(identity) => api.identity = Some(identity),
                Err(fault) => findings.error(span, fault),
            }
        }
        (None, None, Some(span)) => findings.warning(span, "`tls_key` is of no use without `tls_cert`"),
        _ => {}
    }
    warn(api, spans, findings);
}

/// Says what is allowed, and opens the API wider than most would want.
fn warn(api: &Api, spans: &ApiSpans, findings: &mut Findings) {
    let Some((listen, span)) = api.listen.zip(spans.listen.as_ref()) else {
        let rest = [&spans.token_file, &spans.tls_cert, &spans.open_reads];
        if let Some(span) = rest.into_iter().flatten().next() {
            findings.warning(span, "`[control.api]` does nothing without `listen`");
        }
        return;
    };
    let is_local = match listen.ip() {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.to_canonical().is_loopback(),
    };
    if !is_local && api.tls_cert.is_none() {
        findings.warning(span, format!("`listen` {listen} is open to the network without TLS: set `tls_cert`"));
    }
    if !is_local && api.token_file.is_none() {
        let open = if api.open_reads {
            "everybody there can read the figures"
        } else {
            "only `/healthz` and `/readyz` answer"
        };
        findings.warning(span, format!("`listen` {listen} is open to the network without `token_file`: {open}"));
    } else if api.token_file.is_none() && !api.open_reads {
        findings.warning(span, "without `open_reads` and without `token_file` only `/healthz` and `/readyz` answer");
    }
}
