//! The rules of route tables.

use std::collections::BTreeSet;

use super::{EMPTY, chain::upgrades, required};
use crate::{
    Action, DataSource, FieldError, HeaderValueOption, PathMatch, Route, RouteAction,
    RouteConfiguration, WeightedClusters, headers, path::FieldPath,
};

pub(super) fn table(table: &RouteConfiguration, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    added(
        &table.request_headers_to_add,
        at,
        "request_headers_to_add",
        wrong,
    );
    added(
        &table.response_headers_to_add,
        at,
        "response_headers_to_add",
        wrong,
    );
    removed(
        &table.request_headers_to_remove,
        at,
        "request_headers_to_remove",
        wrong,
    );
    removed(
        &table.response_headers_to_remove,
        at,
        "response_headers_to_remove",
        wrong,
    );
    let mut domains = BTreeSet::new();
    for (index, host) in table.virtual_hosts.iter().enumerate() {
        let at = at.key("virtual_hosts").index(index);
        required(&host.name, &at.key("name"), wrong);
        added(
            &host.request_headers_to_add,
            &at,
            "request_headers_to_add",
            wrong,
        );
        added(
            &host.response_headers_to_add,
            &at,
            "response_headers_to_add",
            wrong,
        );
        removed(
            &host.request_headers_to_remove,
            &at,
            "request_headers_to_remove",
            wrong,
        );
        removed(
            &host.response_headers_to_remove,
            &at,
            "response_headers_to_remove",
            wrong,
        );
        if host.domains.is_empty() {
            wrong.push(FieldError::new(&at.key("domains"), EMPTY));
        }
        for (index, domain) in host.domains.iter().enumerate() {
            let at = at.key("domains").index(index);
            required(domain, &at, wrong);
            if !domains.insert(domain.to_ascii_lowercase()) {
                wrong.push(FieldError::new(&at, format!("duplicate domain `{domain}`")));
            }
        }
        for (index, route) in host.routes.iter().enumerate() {
            let at = at.key("routes").index(index);
            self::route(route, &at, wrong);
            if let Action::DirectResponse(answer) = &route.action {
                let text = answer
                    .body
                    .as_ref()
                    .and_then(|body| body.inline_string.as_ref());
                if let Some(problem) = text.and_then(|text| table.body_problem(text)) {
                    let at = at.key("direct_response").key("body").key("inline_string");
                    wrong.push(FieldError::new(&at, problem));
                }
            }
        }
    }
}

fn route(route: &Route, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    added(
        &route.request_headers_to_add,
        at,
        "request_headers_to_add",
        wrong,
    );
    added(
        &route.response_headers_to_add,
        at,
        "response_headers_to_add",
        wrong,
    );
    removed(
        &route.request_headers_to_remove,
        at,
        "request_headers_to_remove",
        wrong,
    );
    removed(
        &route.response_headers_to_remove,
        at,
        "response_headers_to_remove",
        wrong,
    );
    path(&route.matches.path, &at.key("match"), wrong);
    for (index, parameter) in route.matches.query_parameters.iter().enumerate() {
        let at = at.key("match").key("query_parameters").index(index);
        required(&parameter.name, &at.key("name"), wrong);
    }
    match &route.action {
        Action::DirectResponse(response) => {
            let at = at.key("direct_response");
            if !(200..600).contains(&response.status) {
                let message = format!("{} is not one of 200 to 599", response.status);
                wrong.push(FieldError::new(&at.key("status"), message));
            }
            if let Some(DataSource {
                inline_string,
                filename,
            }) = &response.body
            {
                if inline_string.is_some() == filename.is_some() {
                    let message = "expected one of `inline_string`, `filename`";
                    wrong.push(FieldError::new(&at.key("body"), message));
                }
            }
        }
        Action::Redirect(redirect) => {
            let at = at.key("redirect");
            if redirect.port_redirect > 65535 {
                let message = format!("{} is over 65535", redirect.port_redirect);
                wrong.push(FieldError::new(&at.key("port_redirect"), message));
            }
            if redirect.https_redirect && !redirect.scheme_redirect.is_empty() {
                let message = "expected one of `https_redirect`, `scheme_redirect`";
                wrong.push(FieldError::new(&at, message));
            }
            let rewrites = [
                !redirect.path_redirect.is_empty(),
                redirect.prefix_rewrite.is_some(),
                redirect.regex_rewrite.is_some(),
            ];
            if rewrites.into_iter().filter(|set| *set).count() > 1 {
                let message = "expected one of `path_redirect`, `prefix_rewrite`, `regex_rewrite`";
                wrong.push(FieldError::new(&at, message));
            }
            if let Some(problem) = redirect.regex_rewrite.as_ref().and_then(|it| it.problem()) {
                let at = at.key("regex_rewrite").key("substitution");
                wrong.push(FieldError::new(&at, problem));
            }
        }
        Action::Route(action) => forward(action, &at.key("route"), wrong),
    }
}

fn path(path: &PathMatch, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    match path {
        PathMatch::Path(path) if !path.starts_with('/') => {
            wrong.push(FieldError::new(&at.key("path"), "must begin with `/`"));
        }
        PathMatch::PathSeparatedPrefix(prefix)
            if prefix.is_empty() || prefix.ends_with('/') || prefix.contains(['?', '#']) =>
        {
            let at = at.key("path_separated_prefix");
            let message = "must not be empty, end with `/`, or have `?` or `#` in it";
            wrong.push(FieldError::new(&at, message));
        }
        _ => {}
    }
}

fn forward(action: &RouteAction, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    let ways = [
        !action.cluster.is_empty(),
        action.weighted_clusters.is_some(),
        action.cluster_header.is_some(),
    ];
    match ways.into_iter().filter(|set| *set).count() {
        0 => wrong.push(FieldError::new(&at.key("cluster"), EMPTY)),
        1 => {}
        _ => {
            let message =
                "expected one of `cluster`, `weighted_clusters`, `cluster_header`, not several";
            wrong.push(FieldError::new(at, message));
        }
    }
    if let Some(weighted) = &action.weighted_clusters {
        self::weighted(weighted, &at.key("weighted_clusters"), wrong);
    }
    if !action.prefix_rewrite.is_empty() && action.regex_rewrite.is_some() {
        let message = "expected one of `prefix_rewrite`, `regex_rewrite`, not both";
        wrong.push(FieldError::new(at, message));
    }
    let problem = action.regex_rewrite.as_ref().and_then(|it| it.problem());
    if let Some(problem) = problem {
        let at = at.key("regex_rewrite").key("substitution");
        wrong.push(FieldError::new(&at, problem));
    }
    upgrades(&action.upgrade_configs, at, wrong);
    let hosts = [
        !action.host_rewrite_literal.is_empty(),
        !action.host_rewrite_header.is_empty(),
        action.auto_host_rewrite,
    ];
    if hosts.into_iter().filter(|set| *set).count() > 1 {
        let message = "expected one of `host_rewrite_literal`, `host_rewrite_header`, \
                       `auto_host_rewrite`, not several";
        wrong.push(FieldError::new(at, message));
    }
}

pub(super) fn weighted(weighted: &WeightedClusters, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    let weights = weighted
        .clusters
        .iter()
        .map(|cluster| u64::from(cluster.weight));
    let total: u64 = weights.sum();
    if total == 0 || total > u64::from(u32::MAX) {
        let message = "the weights must have a sum of 1 to 4294967295";
        wrong.push(FieldError::new(at, message));
    }
    for (index, cluster) in weighted.clusters.iter().enumerate() {
        let at = at.key("clusters").index(index);
        required(&cluster.name, &at.key("name"), wrong);
        added(
            &cluster.request_headers_to_add,
            &at,
            "request_headers_to_add",
            wrong,
        );
        added(
            &cluster.response_headers_to_add,
            &at,
            "response_headers_to_add",
            wrong,
        );
        let removals = &cluster.request_headers_to_remove;
        removed(removals, &at, "request_headers_to_remove", wrong);
        let removals = &cluster.response_headers_to_remove;
        removed(removals, &at, "response_headers_to_remove", wrong);
    }
}

fn added(list: &[HeaderValueOption], at: &FieldPath, field: &str, wrong: &mut Vec<FieldError>) {
    for (index, option) in list.iter().enumerate() {
        if let Some(problem) = option.header.problem() {
            let at = at.key(field).index(index).key("header");
            wrong.push(FieldError::new(&at, problem));
        }
    }
}

fn removed(list: &[String], at: &FieldPath, field: &str, wrong: &mut Vec<FieldError>) {
    for (index, name) in list.iter().enumerate() {
        if let Some(problem) = headers::removal_problem(name) {
            wrong.push(FieldError::new(&at.key(field).index(index), problem));
        }
    }
}
