//! The rules of TLS contexts. Whether a secret that is referred to is there shows when it is read.

use crate::{
    CommonTlsContext, DownstreamTlsContext, FieldError, SdsSecretConfig, TlsProtocol,
    UpstreamTlsContext, path::FieldPath,
};

pub(super) fn downstream(
    context: &DownstreamTlsContext,
    at: &FieldPath,
    wrong: &mut Vec<FieldError>,
) {
    feature(at, wrong);
    let at = at.key("typed_config");
    let common = &context.common_tls_context;
    let at_common = at.key("common_tls_context");
    self::common(common, &at_common, wrong);
    if common.tls_certificates.is_empty() && common.tls_certificate_sds_secret_configs.is_empty() {
        let at = at_common.key("tls_certificates");
        wrong.push(FieldError::new(&at, "a certificate is required"));
    }
    let validates = common.validation_context.is_some()
        || common.validation_context_sds_secret_config.is_some()
        || common.combined_validation_context.is_some();
    if context.require_client_certificate == Some(true) && !validates {
        let at = at.key("require_client_certificate");
        let message = "needs a validation context: without one every certificate would do";
        wrong.push(FieldError::new(&at, message));
    }
}

pub(super) fn upstream(context: &UpstreamTlsContext, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    feature(at, wrong);
    let at = at.key("typed_config");
    let common = &context.common_tls_context;
    let at_common = at.key("common_tls_context");
    self::common(common, &at_common, wrong);
    let certificates =
        common.tls_certificates.len() + common.tls_certificate_sds_secret_configs.len();
    if certificates > 1 {
        let at = at_common.key("tls_certificates");
        let message = format!("at most one is supported towards endpoints, found {certificates}");
        wrong.push(FieldError::new(&at, message));
    }
}

fn feature(at: &FieldPath, wrong: &mut Vec<FieldError>) {
    if cfg!(not(feature = "tls")) {
        wrong.push(FieldError::new(at, "needs the feature `tls`"));
    }
}

fn common(context: &CommonTlsContext, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    for (index, protocol) in context.alpn_protocols.iter().enumerate() {
        if protocol.is_empty() || protocol.len() > 255 {
            let at = at.key("alpn_protocols").index(index);
            wrong.push(FieldError::new(&at, "must be 1 to 255 bytes long"));
        }
    }
    let validations = [
        context.validation_context.is_some(),
        context.validation_context_sds_secret_config.is_some(),
        context.combined_validation_context.is_some(),
    ];
    if validations.into_iter().filter(|set| *set).count() > 1 {
        let message = "expected one of `validation_context`, \
                       `validation_context_sds_secret_config`, `combined_validation_context`";
        wrong.push(FieldError::new(at, message));
    }
    if let Some(parameters) = &context.tls_params {
        let at = at.key("tls_params");
        let newest = parameters.tls_maximum_protocol_version;
        if newest != TlsProtocol::Auto && newest < TlsProtocol::V1_2 {
            let at = at.key("tls_maximum_protocol_version");
            wrong.push(FieldError::new(
                &at,
                "TLS 1.2 and 1.3 are supported, no older version",
            ));
        }
        if newest != TlsProtocol::Auto && newest < parameters.tls_minimum_protocol_version {
            let at = at.key("tls_minimum_protocol_version");
            wrong.push(FieldError::new(
                &at,
                "is newer than `tls_maximum_protocol_version`",
            ));
        }
    }
    for (index, secret) in context
        .tls_certificate_sds_secret_configs
        .iter()
        .enumerate()
    {
        sds(
            secret,
            &at.key("tls_certificate_sds_secret_configs").index(index),
            wrong,
        );
    }
    if let Some(secret) = &context.validation_context_sds_secret_config {
        sds(
            secret,
            &at.key("validation_context_sds_secret_config"),
            wrong,
        );
    }
    if let Some(combined) = &context.combined_validation_context {
        let at = at.key("combined_validation_context");
        let secret = &combined.validation_context_sds_secret_config;
        sds(
            secret,
            &at.key("validation_context_sds_secret_config"),
            wrong,
        );
    }
}

fn sds(secret: &SdsSecretConfig, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    super::required(&secret.name, &at.key("name"), wrong);
    if let Some(source) = &secret.sds_config {
        if source.file().is_none() {
            let at = at.key("sds_config");
            let message = "only a file is supported: `path_config_source` or `path`";
            wrong.push(FieldError::new(&at, message));
        }
    }
}
