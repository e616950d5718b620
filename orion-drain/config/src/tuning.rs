//! Envoy's fields that are not read here and may be left out: they tune or observe. No listener,
//! route, upstream or permission depends on them.
//!
//! Every other field of a message that is read, and that is not read itself, is
//! [refused](super::unsupported).

/// The field that holds a message, and the names of that message's fields, as in
/// [`super::foreign`].
const FIELDS: &[(&str, &str)] = &[
    (
        "",
        "application_log_config bootstrap_extensions certificate_provider_instances cluster_manager \
         default_regex_engine deferred_stat_options dns_resolution_config enable_dispatcher_stats \
         enable_worker_cpu_affinity fatal_actions flags_path grpc_async_client_manager_config hds_config \
         inline_headers layered_runtime memory_allocator_manager node node_context_params \
         perf_tracing_file_path stats_config stats_eviction_interval stats_flush_interval stats_flush_on_admin \
         stats_server_version_override stats_sinks tracing typed_dns_resolver_config use_tcp_for_dns_lookups \
         watchdog watchdogs xds_config_tracker_extension",
    ),
    (
        "overload_manager",
        "actions buffer_factory_config loadshed_points refresh_interval",
    ),
    (
        "node",
        "dynamic_parameters extensions listening_addresses user_agent_build_version user_agent_name \
         user_agent_version",
    ),
    (
        "admin",
        "access_log access_log_path ignore_global_conn_limit profile_path",
    ),
    ("lds_config", "resource_api_version"),
    (
        "ads_config",
        "config_validators rate_limit_settings refresh_delay request_timeout set_node_on_first_message_only \
         transport_api_version",
    ),
    (
        "api_config_source",
        "config_validators rate_limit_settings refresh_delay request_timeout set_node_on_first_message_only \
         transport_api_version",
    ),
    ("grpc_services", "retry_policy timeout"),
    (
        "envoy_grpc",
        "max_receive_message_length retry_policy skip_envoy_headers",
    ),
    ("path_config_source", "poll_interval"),
    (
        "listeners",
        "access_log bypass_overload_manager connection_balance_config continue_on_listener_filters_timeout \
         enable_mptcp ignore_global_conn_limit listener_filters listener_filters_timeout \
         max_connections_to_accept_per_socket_event metadata per_connection_buffer_high_watermark_timeout \
         per_connection_buffer_limit_bytes reuse_port stat_prefix stats_matcher tcp_fast_open_queue_length \
         tcp_keepalive",
    ),
    ("additional_addresses", "tcp_keepalive"),
    (
        "filter_chains",
        "metadata name transport_socket_connect_timeout",
    ),
    ("filters", "name"),
    (
        "typed_config",
        "access_log access_log_flush_interval access_log_options add_user_agent \
         allow_renegotiation enforce_rsa_key_usage max_session_keys always_set_request_id_in_response append_local_overload append_x_forwarded_port backoff_options cache_time \
         disable_stateful_session_resumption disable_stateless_session_resumption dynamic_stats \
         flush_access_log_on_connected flush_access_log_on_new_request full_scan_certs_on_sni_mismatch \
         generate_request_id http3_protocol_options http_protocol_options http2_protocol_options \
         local_reply_config max_connect_attempts max_request_headers_kb prefer_client_ciphers \
         preserve_external_request_id proxy_100_continue proxy_status_config record_route_resolution_stats \
         represent_ipv4_remote_address_as_ipv4_mapped_ipv6 request_headers_timeout request_id_extension \
         respect_expected_rq_timeout server_header_transformation server_name session_ticket_keys \
         session_timeout start_child_span stream_error_on_invalid_http_message stream_flush_timeout \
         strict_check_headers suppress_envoy_headers \
         suppress_grpc_request_failure_code_stats tracing upstream_log upstream_log_options",
    ),
    (
        "common_http_protocol_options",
        "max_headers_count max_response_headers_kb",
    ),
    ("http_filters", "is_optional name"),
    (
        "route_config",
        "metadata name request_mirror_policies validate_clusters",
    ),
    (
        "virtual_hosts",
        "cors hedge_policy include_attempt_count_in_response include_is_timeout_retry_header \
         include_request_attempt_count metadata name per_request_buffer_limit_bytes rate_limits \
         request_body_buffer_limit request_mirror_policies retry_policy retry_policy_typed_config \
         virtual_clusters",
    ),
    (
        "routes",
        "decorator metadata name per_request_buffer_limit_bytes request_body_buffer_limit stat_prefix tracing",
    ),
    (
        "route",
        "append_x_forwarded_host cors early_data_policy flush_timeout \
         grpc_timeout_offset hash_policy hedge_policy include_vh_rate_limits max_grpc_timeout \
         priority rate_limits request_mirror_policies retry_policy \
         retry_policy_typed_config",
    ),
    (
        "max_stream_duration",
        "grpc_timeout_header_max grpc_timeout_header_offset",
    ),
    (
        "connection_keepalive",
        "connection_idle_interval interval_jitter",
    ),
    ("safe_regex", "google_re2"),
    ("runtime_fraction", "runtime_key"),
    ("weighted_clusters", "runtime_key_prefix total_weight"),
    ("body", "watched_directory"),
    ("transport_socket", "name"),
    ("common_tls_context", "key_log"),
    ("tls_params", "ecdh_curves signature_algorithms"),
    (
        "validation_context",
        "only_verify_leaf_cert_crl watched_directory",
    ),
    (
        "tls_certificates",
        "ocsp_staple signed_certificate_timestamp watched_directory",
    ),
    (
        "clusters",
        "alt_stat_name circuit_breakers cleanup_interval close_connections_on_host_health_failure \
         common_http_protocol_options connect_timeout \
         dns_failure_refresh_rate dns_jitter dns_lookup_family \
         dns_refresh_rate dns_resolution_config health_checks http2_protocol_options \
         http_protocol_options ignore_health_on_host_removal least_request_lb_config \
         lrs_report_endpoint_metrics lrs_server maglev_lb_config max_requests_per_connection metadata \
         outlier_detection per_connection_buffer_high_watermark_timeout per_connection_buffer_limit_bytes \
         preconnect_policy queuing_policies respect_dns_ttl ring_hash_lb_config round_robin_lb_config \
         stats_matcher track_cluster_stats track_timeout_budgets typed_dns_resolver_config \
         upstream_connection_options upstream_http_protocol_options use_tcp_for_dns_lookups \
         wait_for_warm_on_init",
    ),
    (
        "common_lb_config",
        "close_connections_on_host_set_change consistent_hashing_lb_config ignore_new_hosts_until_first_hc \
         locality_weighted_lb_config override_host_status update_merge_window zone_aware_lb_config",
    ),
    (
        "endpoints",
        "load_balancing_weight locality metadata proximity",
    ),
    ("lb_endpoints", "metadata"),
    (
        "endpoint",
        "health_check_config hostname observability_name",
    ),
    (
        super::upstream::HTTP,
        "common_http_protocol_options hash_policy header_validation_config outlier_detection \
         request_mirror_policies retry_policy upstream_http_protocol_options",
    ),
    ("explicit_http_config", "http_protocol_options"),
    (
        "auto_config",
        "alternate_protocols_cache_options http3_protocol_options",
    ),
    (
        "http_protocol_options",
        "accept_http_10 allow_absolute_url allow_custom_methods default_host_for_http_10 enable_trailers \
         header_key_format override_stream_error_on_invalid_http_message send_fully_qualified_url \
         use_balsa_parser",
    ),
    (
        "http2_protocol_options",
        "allow_metadata connection_keepalive custom_settings_parameters disallow_obs_text \
         enable_huffman_encoding hpack_table_size initial_connection_window_size initial_stream_window_size \
         max_concurrent_streams max_consecutive_inbound_frames_with_empty_payload max_header_field_size_kb \
         max_inbound_priority_frames_per_stream max_inbound_window_update_frames_per_data_frame_sent \
         max_metadata_size max_outbound_control_frames max_outbound_frames \
         override_stream_error_on_invalid_http_message stream_error_on_invalid_http_messaging \
         stream_reset_burst stream_reset_rate use_oghttp2_codec",
    ),
];

/// Whether `field` of the message that `holder` holds may be left out.
pub(super) fn has(holder: &str, field: &str) -> bool {
    super::foreign::names(FIELDS, holder, field)
}

#[cfg(test)]
mod tests {
    use super::super::foreign;
    use super::*;

    #[test]
    fn every_name_is_a_field_of_envoys() {
        for (holder, fields) in FIELDS {
            for field in fields.split_ascii_whitespace() {
                assert!(foreign::has(holder, field), "{holder}.{field}");
            }
        }
    }
}
