//! The parameters of a call, in its query or in a form.

use axum::Form;
use axum::extract::{FromRequest as _, Query, Request};
use http::{Method, Uri};

/// The parameters of a call, in the query or in a form; a JSON body is not seen, as at WeChat.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the parameters; `None` means that the method is not one for this endpoint.
    pub(super) async fn of(request: Request) -> Option<Self> {
        let Self(mut params) = Self::of_query(request.uri());
        if request.method() == Method::POST {
            if let Ok(Form(form)) = Form::<Vec<(String, String)>>::from_request(request, &()).await
            {
                params.extend(form);
            }
        } else if request.method() != Method::GET {
            return None;
        }
        Some(Self(params))
    }

    /// Reads those of a query alone.
    pub(super) fn of_query(uri: &Uri) -> Self {
        let query: Result<Query<Vec<(String, String)>>, _> = Query::try_from_uri(uri);
        Self(query.map_or_else(|_| Vec::new(), |Query(params)| params))
    }

    /// Returns the first value under this name that is not empty.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let named = self.0.iter().filter(|(key, _)| key == name);
        named
            .map(|(_, value)| value.as_str())
            .find(|value| !value.is_empty())
    }

    #[cfg(test)]
    pub(super) fn from_pairs<'p>(pairs: impl IntoIterator<Item = &'p (&'p str, &'p str)>) -> Self {
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }
}
