//! Fields that not even Envoy has: mistakes, most likely.
//!
//! Much of Envoy's configuration concerns nothing here and is ignored. To tell that from a word that is misspelt, the names
//! of all fields are here of all messages that are read: those of Envoy 1.40.0, taken from the descriptors in its program.

use super::{path::FieldPath, read::Unknown};

/// The field that holds a message, and the names of that message's fields. Where several messages
/// can stand, those of all.
const FIELDS: &[(&str, &str)] = &[
    (
        "",
        "admin application_log_config bootstrap_extensions certificate_provider_instances cluster_manager \
         config_sources default_config_source default_regex_engine default_socket_interface \
         deferred_stat_options dns_resolution_config dynamic_resources enable_dispatcher_stats \
         enable_worker_cpu_affinity fatal_actions flags_path grpc_async_client_manager_config hds_config \
         header_prefix inline_headers layered_runtime listener_manager memory_allocator_manager node \
         node_context_params overload_manager perf_tracing_file_path static_resources stats_config \
         stats_eviction_interval stats_flush_interval stats_flush_on_admin stats_server_version_override \
         stats_sinks tracing typed_dns_resolver_config use_tcp_for_dns_lookups watchdog watchdogs \
         xds_config_tracker_extension xds_delegate_extension",
    ),
    (
        "overload_manager",
        "actions buffer_factory_config loadshed_points refresh_interval resource_monitors",
    ),
    ("resource_monitors", "name typed_config"),
    (
        "node",
        "client_features cluster dynamic_parameters extensions id listening_addresses locality metadata \
         user_agent_build_version user_agent_name user_agent_version",
    ),
    (
        "admin",
        "access_log access_log_path address allow_paths ignore_global_conn_limit profile_path socket_options",
    ),
    (
        "dynamic_resources",
        "ads_config cds_config cds_resources_locator lds_config lds_resources_locator",
    ),
    (
        "lds_config",
        "ads api_config_source authorities initial_fetch_timeout path path_config_source resource_api_version \
         self",
    ),
    (
        "ads_config",
        "api_type cluster_names config_validators grpc_services rate_limit_settings refresh_delay \
         request_timeout set_node_on_first_message_only transport_api_version",
    ),
    (
        "api_config_source",
        "api_type cluster_names config_validators grpc_services rate_limit_settings refresh_delay \
         request_timeout set_node_on_first_message_only transport_api_version",
    ),
    (
        "grpc_services",
        "envoy_grpc google_grpc initial_metadata retry_policy timeout",
    ),
    (
        "envoy_grpc",
        "authority cluster_name max_receive_message_length retry_policy skip_envoy_headers",
    ),
    ("initial_metadata", "key raw_value value"),
    ("path_config_source", "path poll_interval watched_directory"),
    ("watched_directory", "path watch_modify"),
    ("static_resources", "clusters listeners secrets"),
    (
        "listeners",
        "access_log additional_addresses address api_listener bind_to_port bypass_overload_manager \
         connection_balance_config continue_on_listener_filters_timeout default_filter_chain deprecated_v1 \
         drain_type enable_mptcp enable_reuse_port fcds_config filter_chain_matcher filter_chains freebind \
         ignore_global_conn_limit internal_listener listener_filters listener_filters_timeout \
         max_connections_to_accept_per_socket_event metadata name \
         per_connection_buffer_high_watermark_timeout per_connection_buffer_limit_bytes reuse_port \
         socket_options stat_prefix stats_matcher tcp_backlog_size tcp_fast_open_queue_length tcp_keepalive \
         traffic_direction transparent udp_listener_config use_original_dst",
    ),
    (
        "additional_addresses",
        "address socket_options tcp_keepalive",
    ),
    ("address", "envoy_internal_address pipe socket_address"),
    (
        "socket_address",
        "address ipv4_compat named_port network_namespace_filepath port_value protocol resolver_name",
    ),
    ("pipe", "mode path"),
    (
        "filter_chains",
        "filter_chain_match filters metadata name transport_socket transport_socket_connect_timeout \
         use_proxy_proto",
    ),
    (
        "filter_chain_match",
        "address_suffix application_protocols destination_port direct_source_prefix_ranges prefix_ranges \
         server_names source_ports source_prefix_ranges source_type suffix_len transport_protocol",
    ),
    ("source_prefix_ranges", "address_prefix prefix_len"),
    ("filters", "config_discovery name typed_config"),
    (
        "typed_config",
        "access_log access_log_flush_interval access_log_options add_proxy_protocol_connection_state \
         add_user_agent always_set_request_id_in_response append_local_overload append_x_forwarded_port \
         backoff_options cache_time check_drain_close cluster cluster_min_healthy_percentages codec_type common_http_protocol_options common_tls_context \
         delayed_close_timeout disable_stateful_session_resumption disable_stateless_session_resumption \
         downstream_idle_timeout drain_timeout drain_timeout_jitter dynamic_stats \
         early_header_mutation_extensions flush_access_log_on_connected flush_access_log_on_new_request \
         forward_client_cert_details forward_client_cert_matcher forward_proto_config \
         full_scan_certs_on_sni_mismatch generate_request_id hash_policy headers http1_safe_max_connection_duration \
         http2_protocol_options http3_protocol_options http_filters http_protocol_options idle_timeout \
         internal_address_config local_reply_config max_active_downstream_connections max_connect_attempts max_downstream_connection_duration \
         max_downstream_connection_duration_jitter_percentage max_early_data_bytes max_request_headers_kb \
         merge_slashes metadata_match normalize_path ocsp_staple_policy on_demand pass_through_mode \
         original_ip_detection_extensions path_normalization_options path_with_escaped_slashes_action \
         prefer_client_ciphers preserve_external_request_id proxy_100_continue \
         proxy_protocol_tlv_merge_policy proxy_protocol_tlvs proxy_status_config rds \
         record_route_resolution_stats reject_connect_request_early_data \
         represent_ipv4_remote_address_as_ipv4_mapped_ipv6 request_headers_timeout request_id_extension \
         request_timeout require_client_certificate require_sni respect_expected_rq_timeout route_config \
         scheme_header_transformation scoped_routes server_header_transformation server_name \
         session_ticket_keys session_ticket_keys_sds_secret_config session_timeout \
         set_current_client_cert_details skip_xff_append start_child_span stat_prefix \
         stream_error_on_invalid_http_message stream_flush_timeout stream_idle_timeout strict_check_headers \
         strip_any_host_port strip_matching_host_port strip_trailing_host_dot suppress_envoy_headers \
         suppress_grpc_request_failure_code_stats tracing tunneling_config typed_header_validation_config \
         allow_renegotiation auto_host_sni auto_sni_san_validation enforce_rsa_key_usage max_session_keys sni \
         upgrade_configs upstream_connect_mode upstream_http_filters upstream_idle_timeout upstream_log \
         upstream_log_options use_remote_address via weighted_clusters xff_num_trusted_hops",
    ),
    ("rds", "config_source route_config_name"),
    (
        "common_http_protocol_options",
        "headers_with_underscores_action idle_timeout max_connection_duration max_connection_duration_jitter \
         max_headers_count max_requests_per_connection max_response_headers_kb max_stream_duration",
    ),
    (
        "upgrade_configs",
        "connect_config enabled filters upgrade_type",
    ),
    (
        "http_filters",
        "config_discovery disabled is_optional name typed_config",
    ),
    (
        "route_config",
        "cluster_specifier_plugins ignore_path_parameters_in_path_matching ignore_port_in_host_matching \
         internal_only_headers max_direct_response_body_size_bytes metadata \
         most_specific_header_mutations_wins name request_headers_to_add request_headers_to_remove \
         request_mirror_policies response_headers_to_add response_headers_to_remove route_specifiers \
         typed_per_filter_config validate_clusters vhds vhost_header virtual_hosts",
    ),
    (
        "virtual_hosts",
        "cors domains hedge_policy include_attempt_count_in_response include_is_timeout_retry_header \
         include_request_attempt_count matcher metadata name per_request_buffer_limit_bytes rate_limits \
         request_body_buffer_limit request_headers_to_add request_headers_to_remove request_mirror_policies \
         require_tls response_headers_to_add response_headers_to_remove retry_policy \
         retry_policy_typed_config route_specifiers routes typed_per_filter_config virtual_clusters",
    ),
    (
        "routes",
        "decorator direct_response filter_action match metadata name non_forwarding_action \
         per_request_buffer_limit_bytes redirect request_body_buffer_limit request_headers_to_add \
         request_headers_to_remove response_headers_to_add response_headers_to_remove route route_specifiers \
         stat_prefix tracing typed_per_filter_config",
    ),
    (
        "match",
        "case_sensitive connect_matcher cookies dynamic_metadata filter_state grpc headers path \
         path_match_policy path_separated_prefix prefix query_parameters runtime_fraction safe_regex \
         tls_context",
    ),
    (
        "route",
        "append_x_forwarded_host auto_host_rewrite cluster cluster_header cluster_not_found_response_code \
         cluster_specifier_plugin cors early_data_policy flush_timeout grpc_timeout_offset hash_policy \
         hedge_policy host_rewrite host_rewrite_header host_rewrite_literal host_rewrite_path_regex \
         idle_timeout include_vh_rate_limits inline_cluster_specifier_plugin internal_redirect_action \
         internal_redirect_policy max_grpc_timeout max_internal_redirects max_stream_duration metadata_match \
         path_rewrite path_rewrite_policy prefix_rewrite priority rate_limits regex_rewrite \
         request_mirror_policies retry_policy retry_policy_typed_config timeout upgrade_configs \
         weighted_clusters",
    ),
    (
        "max_stream_duration",
        "grpc_timeout_header_max grpc_timeout_header_offset max_stream_duration",
    ),
    (
        "headers",
        "contains_match exact_match invert_match name prefix_match present_match range_match \
         safe_regex_match string_match suffix_match treat_missing_header_as_empty",
    ),
    (
        "string_match",
        "contains custom exact ignore_case prefix safe_regex suffix",
    ),
    ("range_match", "end start"),
    ("safe_regex", "google_re2 regex"),
    ("query_parameters", "name present_match string_match"),
    (
        "connection_keepalive",
        "connection_idle_interval interval interval_jitter timeout",
    ),
    ("runtime_fraction", "default_value runtime_key"),
    ("default_value", "denominator numerator"),
    (
        "redirect",
        "host_redirect https_redirect path_redirect path_rewrite_policy port_redirect prefix_rewrite \
         regex_rewrite response_code scheme_redirect strip_query",
    ),
    ("regex_rewrite", "pattern substitution"),
    (
        "weighted_clusters",
        "clusters header_name runtime_key_prefix total_weight use_hash_policy",
    ),
    (
        CLUSTER_WEIGHT,
        "cluster_header host_rewrite_literal metadata_match name request_headers_to_add \
         request_headers_to_remove response_headers_to_add response_headers_to_remove \
         typed_per_filter_config weight",
    ),
    ("direct_response", "body body_format status"),
    (
        "body",
        "environment_variable filename inline_bytes inline_string watched_directory",
    ),
    (
        "response_headers_to_add",
        "append append_action header keep_empty_value",
    ),
    ("header", "key raw_value value"),
    ("transport_socket", "name typed_config"),
    (
        "common_tls_context",
        "alpn_protocols combined_validation_context custom_handshaker custom_tls_certificate_selector key_log \
         tls_certificate_certificate_provider tls_certificate_certificate_provider_instance \
         tls_certificate_provider_instance tls_certificate_sds_secret_configs tls_certificates tls_params \
         validation_context validation_context_certificate_provider \
         validation_context_certificate_provider_instance validation_context_sds_secret_config",
    ),
    (
        "tls_params",
        "cipher_suites compliance_policies ecdh_curves signature_algorithms tls_maximum_protocol_version \
         tls_minimum_protocol_version",
    ),
    (
        "validation_context",
        "allow_expired_certificate ca_certificate_provider_instance crl custom_validator_config \
         match_subject_alt_names match_typed_subject_alt_names max_verify_depth only_verify_leaf_cert_crl \
         require_signed_certificate_timestamp system_root_certs trust_chain_verification trusted_ca \
         verify_certificate_hash verify_certificate_spki watched_directory",
    ),
    (
        "combined_validation_context",
        "default_validation_context validation_context_certificate_provider \
         validation_context_certificate_provider_instance validation_context_sds_secret_config",
    ),
    ("match_typed_subject_alt_names", "matcher oid san_type"),
    ("tls_certificate_sds_secret_configs", "name sds_config"),
    (
        "secrets",
        "generic_secret name session_ticket_keys tls_certificate validation_context",
    ),
    (
        "tls_certificates",
        "certificate_chain ocsp_staple password pkcs12 private_key private_key_provider \
         signed_certificate_timestamp tls_params watched_directory",
    ),
    (
        "clusters",
        "alt_stat_name circuit_breakers cleanup_interval close_connections_on_host_health_failure \
         cluster_type common_http_protocol_options common_lb_config connect_timeout \
         connection_pool_per_downstream_connection dns_failure_refresh_rate dns_jitter dns_lookup_family \
         dns_refresh_rate dns_resolution_config dns_resolvers eds_cluster_config filters health_checks \
         http2_protocol_options http_protocol_options ignore_health_on_host_removal lb_policy \
         lb_subset_config least_request_lb_config load_assignment load_balancing_policy \
         lrs_report_endpoint_metrics lrs_server maglev_lb_config max_requests_per_connection metadata name \
         original_dst_lb_config outlier_detection per_connection_buffer_high_watermark_timeout \
         per_connection_buffer_limit_bytes preconnect_policy protocol_selection queuing_policies \
         respect_dns_ttl ring_hash_lb_config round_robin_lb_config stats_matcher track_cluster_stats \
         track_timeout_budgets transport_socket transport_socket_matcher transport_socket_matches type \
         typed_dns_resolver_config typed_extension_protocol_options upstream_bind_config upstream_config \
         upstream_connection_options upstream_http_protocol_options use_tcp_for_dns_lookups \
         wait_for_warm_on_init",
    ),
    (
        "common_lb_config",
        "close_connections_on_host_set_change consistent_hashing_lb_config healthy_panic_threshold \
         ignore_new_hosts_until_first_hc locality_weighted_lb_config override_host_status \
         update_merge_window zone_aware_lb_config",
    ),
    (
        "load_assignment",
        "cluster_name endpoints named_endpoints policy",
    ),
    (
        "endpoints",
        "lb_endpoints leds_cluster_locality_config load_balancer_endpoints load_balancing_weight locality \
         metadata priority proximity",
    ),
    (
        "lb_endpoints",
        "endpoint endpoint_name health_status load_balancing_weight metadata",
    ),
    (
        "endpoint",
        "additional_addresses address health_check_config hostname observability_name",
    ),
    (
        super::upstream::HTTP,
        "auto_config common_http_protocol_options explicit_http_config hash_policy header_validation_config \
         http_filters outlier_detection request_mirror_policies retry_policy upstream_http_protocol_options \
         use_downstream_protocol_config",
    ),
    (
        "auto_config",
        "alternate_protocols_cache_options http2_protocol_options http3_protocol_options http_protocol_options",
    ),
    (
        "explicit_http_config",
        "http2_protocol_options http3_protocol_options http_protocol_options",
    ),
    (
        "http_protocol_options",
        "accept_http_10 allow_absolute_url allow_chunked_length allow_custom_methods default_host_for_http_10 \
         enable_trailers header_key_format ignore_http_11_upgrade \
         override_stream_error_on_invalid_http_message send_fully_qualified_url use_balsa_parser",
    ),
    (
        "http2_protocol_options",
        "allow_connect allow_metadata connection_keepalive custom_settings_parameters disallow_obs_text \
         enable_huffman_encoding hpack_table_size initial_connection_window_size initial_stream_window_size \
         max_concurrent_streams max_consecutive_inbound_frames_with_empty_payload max_header_field_size_kb \
         max_inbound_priority_frames_per_stream max_inbound_window_update_frames_per_data_frame_sent \
         max_metadata_size max_outbound_control_frames max_outbound_frames \
         override_stream_error_on_invalid_http_message stream_error_on_invalid_http_messaging \
         stream_reset_burst stream_reset_rate use_oghttp2_codec",
    ),
];

/// The field that would hold the message at the root of a document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Root {
    Bootstrap,
    Listener,
    #[cfg(feature = "xds")]
    RouteConfiguration,
    DiscoveryResponse,
}

/// The paths of those that Envoy has not got.
pub(super) fn find(unknown: &[Unknown], root: Root) -> Vec<String> {
    let foreign = unknown.iter().filter(|field| !is_envoys(&field.path, root));
    foreign.map(|field| field.path.to_string()).collect()
}

fn is_envoys(path: &FieldPath, root: Root) -> bool {
    match message(path, root) {
        Some((DISCOVERY_RESPONSE, field)) => {
            ["canary", "control_plane", "resource_errors"].contains(&field)
        }
        Some((holder, field)) => has(holder, field),
        None => false,
    }
}

/// The holder of [`DiscoveryResponse`](Root::DiscoveryResponse)'s own fields: no field of Envoy's
/// has such a name.
const DISCOVERY_RESPONSE: &str = "DiscoveryResponse";

/// The holder of the entries of weighted clusters, which are no clusters: no field of Envoy's has
/// such a name.
pub(super) const CLUSTER_WEIGHT: &str = "ClusterWeight";

/// The field at `path`, and the name under which [`FIELDS`] has the message that it belongs to.
pub(super) fn message(path: &FieldPath, root: Root) -> Option<(&str, &str)> {
    let mut keys = path.keys_outwards();
    let (field, holder, around) = (keys.next(), keys.next(), keys.next());
    let holder = match (holder, root) {
        (None, Root::Bootstrap) => "",
        (None, Root::DiscoveryResponse) => DISCOVERY_RESPONSE,
        #[cfg(feature = "xds")]
        (None | Some("resources" | "resource"), Root::RouteConfiguration) => "route_config",
        (None, Root::Listener) | (Some("resources" | "resource"), _) => "listeners",
        (Some("default_filter_chain"), _) => "filter_chains",
        (Some("clusters"), _) if around == Some("weighted_clusters") => CLUSTER_WEIGHT,
        (Some("default_validation_context"), _) => "validation_context",
        (Some("tls_certificate"), _) => "tls_certificates",
        (Some("request_headers_to_add"), _) => "response_headers_to_add",
        (Some("prefix_ranges"), _) => "source_prefix_ranges",
        (Some("safe_regex_match" | "pattern"), _) => "safe_regex",
        (Some("matcher" | "allow_paths"), _) => "string_match",
        (Some("trusted_ca" | "certificate_chain" | "private_key"), _) => "body",
        (Some("sds_config" | "config_source"), _) => "lds_config",
        (Some("validation_context_sds_secret_config"), _) => "tls_certificate_sds_secret_configs",
        (Some("use_downstream_protocol_config"), _) => "auto_config",
        (Some(holder), _) => holder,
    };
    Some((holder, field?))
}

/// Whether Envoy has this field.
pub(super) fn has(holder: &str, field: &str) -> bool {
    names(FIELDS, holder, field)
}

pub(super) fn names(table: &[(&str, &str)], holder: &str, field: &str) -> bool {
    table.iter().any(|(name, fields)| {
        *name == holder && fields.split_ascii_whitespace().any(|name| name == field)
    })
}
