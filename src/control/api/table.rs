//! Every route: who may use it, what it takes and gives. The router and the API's description are made from this one table.

use std::sync::Arc;

use axum::routing::{MethodRouter, delete, get, post, put};

use super::door::Right::{self, Change, Figures, Open, Private};
use super::routes::{self, App};
use super::{capture, edits, openapi, plain, stream};
use crate::control::serve::Shared;

/// One method of one path.
pub struct Route {
    /// `get`, `post`, `put` or `delete`.
    pub method: &'static str,
    /// With the names of its parts in braces.
    pub path: &'static str,
    /// Who may use it.
    pub right: Right,
    /// One sentence without its full stop.
    pub summary: &'static str,
    /// Parameters behind the question mark.
    pub query: &'static [Parameter],
    /// What it takes.
    pub body: Body,
    /// What it gives if all is well.
    pub answer: Answer,
    /// Other statuses than those that follow from the above.
    pub errors: &'static [u16],
    /// What serves it.
    pub handler: fn() -> MethodRouter<Arc<Shared>>,
}

/// A name, its JSON type, and what it means.
pub type Parameter = (&'static str, &'static str, &'static str);

/// A request's body.
#[derive(Clone, Copy)]
pub enum Body {
    /// There is none.
    None,
    /// JSON by this schema, or nothing.
    Optional(&'static str),
    /// JSON by this schema.
    Json(&'static str),
    /// A table of the configuration as a JSON object.
    Keys(&'static str),
    /// The text of a configuration file.
    Config,
}

/// An answer's body.
#[derive(Clone, Copy)]
pub enum Answer {
    /// JSON by this schema.
    Json(&'static str),
    /// A list of such.
    List(&'static str),
    /// The same as the first, also with 503.
    Wellness,
    /// Text of this type.
    Text(&'static str),
    /// Events, for as long as the client likes.
    Events,
    /// The description of the API.
    Description,
}

const NOTHING: Route = Route {
    method: "get",
    path: "",
    right: Figures,
    summary: "",
    query: &[],
    body: Body::None,
    answer: Answer::Description,
    errors: &[],
    handler: MethodRouter::new,
};

const fn figures(path: &'static str, schema: &'static str, summary: &'static str, handler: Handler) -> Route {
    Route { path, summary, answer: Answer::Json(schema), handler, ..NOTHING }
}

const fn change(
    path: &'static str,
    body: Body,
    answer: &'static str,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route { method: "post", path, right: Change, summary, body, answer: Answer::Json(answer), handler, ..NOTHING }
}

type Handler = fn() -> MethodRouter<Arc<Shared>>;

const WRITE: &[Parameter] = &[("write", "string", "Present, for the file to have the change as well")];

/// See the module.
pub static ROUTES: [Route; 31] = [
    Route {
        right: Open,
        answer: Answer::Wellness,
        ..figures("/healthz", "", "Whether the process and its workers move", || get(plain::healthz))
    },
    Route {
        right: Open,
        answer: Answer::Wellness,
        ..figures("/readyz", "", "Whether packets would be balanced", || get(plain::readyz))
    },
    Route {
        answer: Answer::Text("text/plain"),
        ..figures("/metrics", "", "All metrics, for Prometheus", || get(plain::metrics))
    },
    figures("/v1/status", "Status", "The process", || get(|app: App| routes::view(app, |m| m.status()))),
    figures("/v1/stats", "Stats", "All figures at once", || get(|app: App| routes::view(app, |m| m.stats()))),
    figures("/v1/services", "Services", "Services with their backends", || {
        get(|app: App| routes::view(app, |m| m.services()))
    }),
    figures("/v1/backends", "Backends", "Backends of all services", || {
        get(|app: App| routes::view(app, |m| m.backends()))
    }),
    figures("/v1/workers", "Workers", "What workers do", || get(|app: App| routes::view(app, |m| m.workers()))),
    figures("/v1/latency", "Latency", "Time of packets in the balancer", || {
        get(|app: App| routes::view(app, |m| m.latency()))
    }),
    Route {
        query: &[("all", "string", "Present, for the reasons that never occurred, too")],
        ..figures("/v1/drops", "Drops", "Packets dropped, by reason", || get(routes::drops))
    },
    Route {
        query: &[("points", "integer", "Steps at most; 360 if left out")],
        ..figures("/v1/history", "History", "The last hour, for graphs", || get(routes::history))
    },
    figures("/v1/ports", "Ports", "Ports, as their drivers tell them", || get(routes::ports)),
    Route {
        query: &[("after", "integer", "Number of the last event that is known; as the header Last-Event-ID")],
        answer: Answer::Events,
        ..figures("/v1/events", "", "What happens, as it happens", || get(stream::events))
    },
    Route {
        answer: Answer::Description,
        ..figures("/v1/openapi.json", "", "This description", || get(openapi::serve))
    },
    Route {
        right: Private,
        query: &[("limit", "integer", "Connections at most")],
        ..figures("/v1/connections", "Connections", "Connections", || get(routes::connections))
    },
    Route {
        right: Private,
        ..figures("/v1/neighbors", "Neighbors", "Next hops, as each worker knows them", || get(routes::neighbors))
    },
    Route {
        right: Private,
        ..figures("/v1/capture", "CaptureStatus", "The capture that runs, or the last one", || get(capture::status))
    },
    Route {
        right: Private,
        answer: Answer::Text("application/x-pcapng"),
        errors: &[409, 503],
        ..change(
            "/v1/capture",
            Body::Optional("CaptureRequest"),
            "",
            "Packets as they come and as they leave, for as long as the client likes",
            || post(capture::start),
        )
    },
    Route {
        method: "delete",
        right: Private,
        errors: &[409],
        ..change("/v1/capture", Body::None, "CaptureStatus", "Ends the capture that runs", || delete(capture::stop))
    },
    Route {
        right: Private,
        query: &[("secrets", "string", "Present, for secrets as they are; on the Unix socket only")],
        ..figures("/v1/config", "ConfigText", "The configuration in use, as a file that loads", || get(routes::config))
    },
    Route {
        right: Private,
        errors: &[409, 422],
        ..change("/v1/plan", Body::Optional("PlanRequest"), "Plan", "What a file would change", || post(routes::plan))
    },
    Route {
        right: Private,
        answer: Answer::List("Explanation"),
        ..change(
            "/v1/explain",
            Body::Json("ExplainRequest"),
            "",
            "What the packet path decides about packets, and why",
            || post(routes::explain),
        )
    },
    Route {
        errors: &[404, 409],
        ..change(
            "/v1/backends",
            Body::Json("BackendRequest"),
            "BackendReport",
            "Changes a backend's state or weight",
            || post(routes::command),
        )
    },
    Route {
        errors: &[409, 422],
        ..change("/v1/reload", Body::Optional("ReloadRequest"), "ReloadReport", "Takes a file over", || {
            post(routes::reload)
        })
    },
    Route {
        errors: &[409],
        ..change("/v1/confirm", Body::None, "Confirmed", "Lets a reload that waits stay", || post(routes::confirm))
    },
    Route {
        errors: &[409, 422],
        ..change("/v1/rollback", Body::None, "ReloadReport", "Takes a reload that waits back", || {
            post(routes::roll_back)
        })
    },
    Route {
        method: "put",
        query: WRITE,
        errors: &[409, 412, 422],
        ..change("/v1/config", Body::Config, "ReloadReport", "Takes a whole configuration over", || {
            put(edits::put_config)
        })
    },
    Route {
        query: WRITE,
        errors: &[409, 412, 422],
        ..change("/v1/services", Body::Keys("[[service]]"), "ReloadReport", "Adds a service, with its backends", || {
            post(edits::add_service)
        })
    },
    Route {
        method: "delete",
        query: WRITE,
        errors: &[404, 409, 412, 422],
        ..change("/v1/services/{service}", Body::None, "ReloadReport", "Removes a service", || {
            delete(edits::remove_service)
        })
    },
    Route {
        query: WRITE,
        errors: &[404, 409, 412, 422],
        ..change(
            "/v1/services/{service}/backends",
            Body::Keys("[[service.backend]]"),
            "ReloadReport",
            "Adds a backend",
            || post(edits::add_backend),
        )
    },
    Route {
        method: "delete",
        query: WRITE,
        errors: &[404, 409, 412, 422],
        ..change("/v1/services/{service}/backends/{backend}", Body::None, "ReloadReport", "Removes a backend", || {
            delete(edits::remove_backend)
        })
    },
];
