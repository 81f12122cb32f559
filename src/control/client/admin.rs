//! Requests of administration.

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, parse};
use crate::control::body::{AddBody, ReloadBody, ScaleBody};
use crate::control::route::encode;
use crate::control::{Add, Apply, CountsJson, PlanJson, ReloadJson, ScaleJson, StatusJson, WhyJson};

impl Client {
    /// `GET /v1/children/NAME/why`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn why(&self, name: &str) -> Result<WhyJson, ClientError> {
        self.read(&format!("/v1/children/{}/why", encode(name))).await
    }

    /// `GET /v1/counts` of a supervisor, or of the root.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn counts(&self, supervisor: Option<&str>) -> Result<CountsJson, ClientError> {
        match supervisor {
            Some(name) => self.read(&format!("/v1/counts/{}", encode(name))).await,
            None => self.read("/v1/counts").await,
        }
    }

    /// `POST /v1/children`; waits until the child is started.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn add(&self, add: Add) -> Result<StatusJson, ClientError> {
        let body = match add {
            Add::Child { parent, file, text } => {
                AddBody { parent, file: Some(file), child: Some(text), ..AddBody::default() }
            }
            Add::Instance { parent, name, args } => AddBody { parent, name, args, ..AddBody::default() },
        };
        self.post("/v1/children", &body).await
    }

    /// `DELETE /v1/children/NAME`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove(&self, name: &str) -> Result<StatusJson, ClientError> {
        parse(&self.once(Method::DELETE, &format!("/v1/children/{}", encode(name)), String::new()).await?)
    }

    /// `POST /v1/scale`; waits until all is done.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn scale(&self, name: &str, instances: u32) -> Result<ScaleJson, ClientError> {
        self.post("/v1/scale", &ScaleBody { name: name.to_owned(), instances }).await
    }

    /// `GET /v1/plan`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn plan(&self) -> Result<PlanJson, ClientError> {
        self.read("/v1/plan").await
    }

    /// `POST /v1/reload`; waits until all is done.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reload(&self, apply: Apply) -> Result<ReloadJson, ClientError> {
        self.post("/v1/reload", &ReloadBody { apply }).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_string(body).map_err(|error| ClientError::Broken(error.to_string()))?;
        parse(&self.once(Method::POST, path, body).await?)
    }
}
