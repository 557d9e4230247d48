//! The chat page, embedded: plain HTML, CSS and modules, no outside assets and no build step.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::routes::App;

/// Everything from here and nothing inline; Trusted Types make the browser refuse any HTML made from text.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// Path, type, content.
const FILES: [(&str, &str, &str); 8] = [
    ("/", "text/html; charset=utf-8", include_str!("web/index.html")),
    ("/assets/page.css", "text/css; charset=utf-8", include_str!("web/page.css")),
    ("/assets/page.js", "text/javascript; charset=utf-8", include_str!("web/page.js")),
    ("/assets/api.js", "text/javascript; charset=utf-8", include_str!("web/api.js")),
    ("/assets/store.js", "text/javascript; charset=utf-8", include_str!("web/store.js")),
    ("/assets/settings.js", "text/javascript; charset=utf-8", include_str!("web/settings.js")),
    ("/assets/view.js", "text/javascript; charset=utf-8", include_str!("web/view.js")),
    ("/assets/icon.svg", "image/svg+xml", include_str!("web/icon.svg")),
];

/// The page's own paths.
pub fn routes() -> Router<Arc<App>> {
    FILES.into_iter().fold(Router::new(), |router, (path, content_type, content)| {
        let answer = move || async move {
            ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")], content).into_response()
        };
        router.route(path, get(answer))
    })
}
