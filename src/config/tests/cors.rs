//! What CORS is refused for.

use super::{refused, with};

#[test]
fn mistakes_about_cors_are_refused_with_their_key_and_a_reason() {
    refused([
        (
            with("[cors]", "allow_origins = [\"shop.example\"]"),
            "cors.allow_origins (line 14): must be a list of origins",
        ),
        (
            with("[cors]", "allow_origins = [\"*\", \"https://a.example\"]"),
            "cors.allow_origins (line 14): must be \"*\" alone",
        ),
        (
            with(
                "[cors]",
                "allow_origins = [\"*\"]\nallow_credentials = true",
            ),
            "cors.allow_credentials (line 15): must be false where allow_origins is \"*\"",
        ),
        (
            with("[cors]", "allow_headers = [\"a b\"]"),
            "cors.allow_headers (line 14): must be a list of names of headers",
        ),
        (
            with("[cors]", "max_age = 600"),
            "cors.max_age (line 14): must be a duration",
        ),
        (
            with("route", "cors.allow_origins = [\"shop.example\"]"),
            "route[1].cors.allow_origins (line 13): must be a list of origins",
        ),
        (
            with("route", "cors = false"),
            "route[1].cors (line 13): must be a section, not false",
        ),
        (
            with(
                "route",
                "cors.allow_origins = [\"*\"]\ncors.allow_credentials = true",
            ),
            "route[1].cors.allow_credentials (line 14): must be false where allow_origins is \"*\"",
        ),
        (
            [
                with("route", "cors.allow_origins = [\"*\"]"),
                "[cors]\nallow_origins = [\"https://a.example\"]\n".to_owned(),
                "allow_credentials = true\n".to_owned(),
            ]
            .concat(),
            "route[1].cors.allow_credentials (line 13): must be false where allow_origins is \"*\"",
        ),
    ]);
}
