//! The page for people: static files, which get everything that they show from the API.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// Nothing comes from elsewhere, and nobody puts the page into a frame of his own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The page's files.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/page.css", get(async || file("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route("/page.js", get(async || file("text/javascript; charset=utf-8", include_str!("page/page.js"))))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

#[cfg(test)]
mod tests {
    /// What the page loads is served beside it, and it names nothing else.
    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let (page, script, style) =
            (include_str!("page/index.html"), include_str!("page/page.js"), include_str!("page/page.css"));
        for text in [page, script, style] {
            let links = text.split("http").skip(1).filter(|rest| rest.starts_with("://") || rest.starts_with("s://"));
            // The name of SVG is no link.
            let strange: Vec<_> = links.filter(|rest| !rest.starts_with("://www.w3.org/2000/svg")).collect();
            assert!(strange.is_empty(), "{strange:?}");
            assert!(
                !text.contains("innerHTML") && !text.contains("eval("),
                "text from the API is never taken for markup"
            );
        }
        let loaded: Vec<&str> =
            page.split("src=\"").chain(page.split("href=\"")).filter_map(|rest| rest.split('"').next()).collect();
        for file in ["page.css", "page.js"] {
            assert!(loaded.contains(&file), "{file}");
        }
    }
}
