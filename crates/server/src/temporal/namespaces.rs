//! Namespaces, which the registry keeps, and what the server says of itself.

use std::sync::Arc;
use std::time::Duration;

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
    UpdateNamespaceRequest, UpdateNamespaceResponse,
};
use tonic::Status;

use super::Frontend;
use super::convert::{length, name};
use super::errors::{exhausted, invalid, namespace_exists, no_namespace};
use crate::registry::Namespace;
use crate::service::Service;
use crate::{Error, Kind};

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Frontend {
    /// The namespace of a request.
    ///
    /// # Errors
    /// `NOT_FOUND` with `NamespaceNotFoundFailure`.
    pub(super) fn namespace(&self, given: String) -> Result<Arc<str>, Status> {
        let given = name("Namespace", given)?;
        self.known(&given).map(|_| given)
    }

    fn known(&self, namespace: &str) -> Result<Arc<Namespace>, Status> {
        let registry = self.app.service.host().registry();
        registry.namespace(namespace).map_err(|_| no_namespace(namespace))
    }

    pub(super) async fn register(
        &self,
        request: RegisterNamespaceRequest,
    ) -> Result<RegisterNamespaceResponse, Status> {
        let name = name("Namespace", request.namespace)?;
        let wanted = Namespace {
            description: request.description,
            owner: request.owner_email,
            retention_s: retention(request.workflow_execution_retention_period.as_ref())?,
            data: request.data,
            ..Namespace::named(&name)
        };
        let put = move |service: &Service| {
            service.host().registry().register_namespace(service.engine(), wanted)
        };
        self.app.call(put).await.map_err(refused)?;
        Ok(RegisterNamespaceResponse {})
    }

    pub(super) async fn change_namespace(
        &self,
        request: UpdateNamespaceRequest,
    ) -> Result<UpdateNamespaceResponse, Status> {
        let mut wanted = (*self.known(&request.namespace)?).clone();
        if let Some(info) = request.update_info {
            // What is left empty stays.
            if !info.description.is_empty() {
                wanted.description = info.description;
            }
            if !info.owner_email.is_empty() {
                wanted.owner = info.owner_email;
            }
            wanted.data.extend(info.data);
        }
        if let Some(config) = request.config {
            let asked = retention(config.workflow_execution_retention_ttl.as_ref())?;
            wanted.retention_s = asked.or(wanted.retention_s);
        }
        let put = move |service: &Service| {
            service.host().registry().update_namespace(service.engine(), wanted)
        };
        let namespace = self.app.call(put).await.map_err(refused)?;
        let DescribeNamespaceResponse { namespace_info, config, .. } = self.described(&namespace);
        Ok(UpdateNamespaceResponse { namespace_info, config, ..Default::default() })
    }

    pub(super) async fn namespace_info(
        &self,
        request: DescribeNamespaceRequest,
    ) -> Result<DescribeNamespaceResponse, Status> {
        if !request.namespace.is_empty() {
            let known = self.known(&request.namespace)?;
            return Ok(self.described(&known));
        }
        let all = self.app.service.host().registry().namespaces();
        let found = all.iter().find(|known| known.id == request.id);
        found.map(|known| self.described(known)).ok_or_else(|| no_namespace(&request.id))
    }

    pub(super) async fn all_namespaces(
        &self,
        _request: ListNamespacesRequest,
    ) -> Result<ListNamespacesResponse, Status> {
        let all = self.app.service.host().registry().namespaces();
        let namespaces = all.iter().map(|known| self.described(known)).collect();
        Ok(ListNamespacesResponse { namespaces, ..Default::default() })
    }

    fn described(&self, namespace: &Namespace) -> DescribeNamespaceResponse {
        let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let wanted = namespace.retention_s.map(Duration::from_secs);
        let limits = Limits::default();
        DescribeNamespaceResponse {
            namespace_info: Some(NamespaceInfo {
                name: namespace.name.clone(),
                state: NamespaceState::Registered.into(),
                description: namespace.description.clone(),
                owner_email: namespace.owner.clone(),
                data: namespace.data.clone(),
                id: namespace.id.clone(),
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
                    wanted.unwrap_or(self.app.config.retention.closed.0),
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

/// How long closed runs are wanted, in seconds; absent and zero say nothing.
fn retention(given: Option<&prost_types::Duration>) -> Result<Option<u64>, Status> {
    Ok(length("WorkflowExecutionRetentionPeriod", given)?.map(|length| length.as_secs()))
}

fn refused(error: Error) -> Status {
    match error.kind {
        Kind::Exists => namespace_exists(),
        Kind::Invalid | Kind::Refused => invalid(error.message),
        Kind::NotFound => no_namespace(&error.message),
        Kind::Exhausted => exhausted(error.message),
        Kind::Unavailable | Kind::Corrupt | Kind::Version | Kind::Unimplemented => {
            Status::unavailable(error.message)
        }
    }
}

/// The id of a namespace: the same for ever.
pub(super) fn id(namespace: &str) -> String {
    Namespace::named(namespace).id
}
