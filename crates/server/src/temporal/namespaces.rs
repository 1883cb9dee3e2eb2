//! Namespaces, and what the server says of itself.

use std::sync::Arc;

use reflux_core::{Limits, wire};
use reflux_proto::temporal::api::enums::v1::NamespaceState;
use reflux_proto::temporal::api::namespace::v1::namespace_info::{Capabilities, Limits as Bounds};
use reflux_proto::temporal::api::namespace::v1::{NamespaceConfig, NamespaceInfo};
use reflux_proto::temporal::api::version::v1::{ReleaseInfo, VersionInfo};
use reflux_proto::temporal::api::workflowservice::v1::get_system_info_response;
use reflux_proto::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, DescribeNamespaceResponse, GetClusterInfoRequest,
    GetClusterInfoResponse, GetSystemInfoRequest, GetSystemInfoResponse, ListNamespacesRequest,
    ListNamespacesResponse, RegisterNamespaceRequest, RegisterNamespaceResponse,
};
use tonic::Status;

use super::Frontend;
use super::convert::name;
use super::errors::{namespace_exists, no_namespace, unimplemented};
use crate::protocol::NAMESPACE;

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Frontend {
    /// The namespace of a request.
    ///
    /// # Errors
    /// `NOT_FOUND` with `NamespaceNotFoundFailure`.
    pub(super) fn namespace(&self, given: String) -> Result<Arc<str>, Status> {
        let given = name("Namespace", given)?;
        if self.namespaces().any(|known| *known == *given) {
            return Ok(given);
        }
        Err(no_namespace(&given))
    }

    fn namespaces(&self) -> impl Iterator<Item = &str> {
        std::iter::once(NAMESPACE)
    }

    pub(super) async fn register(
        &self,
        request: RegisterNamespaceRequest,
    ) -> Result<RegisterNamespaceResponse, Status> {
        let wanted = name("Namespace", request.namespace)?;
        match self.namespaces().any(|known| *known == *wanted) {
            true => Err(namespace_exists()),
            false => Err(unimplemented("the registration of a namespace")),
        }
    }

    pub(super) async fn namespace_info(
        &self,
        request: DescribeNamespaceRequest,
    ) -> Result<DescribeNamespaceResponse, Status> {
        if request.namespace.is_empty() {
            let found = self.namespaces().find(|known| id(known) == request.id);
            return found
                .map(|known| self.described(known))
                .ok_or_else(|| no_namespace(&request.id));
        }
        let namespace = self.namespace(request.namespace)?;
        Ok(self.described(&namespace))
    }

    pub(super) async fn all_namespaces(
        &self,
        _request: ListNamespacesRequest,
    ) -> Result<ListNamespacesResponse, Status> {
        let namespaces = self.namespaces().map(|known| self.described(known)).collect();
        Ok(ListNamespacesResponse { namespaces, ..Default::default() })
    }

    fn described(&self, namespace: &str) -> DescribeNamespaceResponse {
        let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let limits = Limits::default();
        DescribeNamespaceResponse {
            namespace_info: Some(NamespaceInfo {
                name: namespace.to_owned(),
                state: NamespaceState::Registered.into(),
                id: id(namespace),
                // Only what works: SDKs use what they find here.
                capabilities: Some(Capabilities {
                    eager_workflow_start: true,
                    ..Default::default()
                }),
                limits: Some(Bounds {
                    blob_size_limit_error: bytes(limits.blob_bytes_max),
                    memo_size_limit_error: bytes(limits.memo_bytes_max),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            config: Some(NamespaceConfig {
                workflow_execution_retention_ttl: Some(wire::to_length(
                    self.app.config.retention.closed.0,
                )),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub(super) async fn system_info(
        &self,
        _request: GetSystemInfoRequest,
    ) -> Result<GetSystemInfoResponse, Status> {
        Ok(GetSystemInfoResponse {
            server_version: VERSION.to_owned(),
            capabilities: Some(get_system_info_response::Capabilities {
                signal_and_query_header: true,
                internal_error_differentiation: true,
                activity_failure_include_heartbeat: true,
                encoded_failure_attributes: true,
                upsert_memo: true,
                eager_workflow_start: true,
                sdk_metadata: true,
                count_group_by_execution_status: true,
                ..Default::default()
            }),
        })
    }

    pub(super) async fn cluster_info(
        &self,
        _request: GetClusterInfoRequest,
    ) -> Result<GetClusterInfoResponse, Status> {
        let current = ReleaseInfo { version: VERSION.to_owned(), ..Default::default() };
        Ok(GetClusterInfoResponse {
            server_version: VERSION.to_owned(),
            cluster_id: id("reflux"),
            version_info: Some(VersionInfo { current: Some(current), ..Default::default() }),
            cluster_name: "reflux".to_owned(),
            history_shard_count: i32::try_from(self.app.config.run.partitions).unwrap_or(i32::MAX),
            persistence_store: "reflux".to_owned(),
            visibility_store: "reflux".to_owned(),
            ..Default::default()
        })
    }
}

/// The id of a namespace: the same for ever, without being kept.
pub(super) fn id(namespace: &str) -> String {
    let hash = blake3::derive_key("reflux 2026 namespace id", namespace.as_bytes());
    let (bytes, _) = hash.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    uuid::Builder::from_custom_bytes(*bytes).into_uuid().to_string()
}
