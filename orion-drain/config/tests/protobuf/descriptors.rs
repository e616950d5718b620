//! `src/protobuf.bin` is an excerpt of the descriptors that `envoy-types` is generated from: those
//! of version 0.7.7, which has fields that an older one in `Cargo.lock` has not.
//!
//! `UPDATE_DESCRIPTORS=.../envoy-types-0.7.7/src/generated/types.bin cargo test -p
//! orion-drain-config --all-features --test protobuf descriptors` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::Type;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
};

/// What a listener is, and what its reader looks into.
const ROOTS: [&str; 9] = [
    "envoy.config.listener.v3.Listener",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.http.health_check.v3.HealthCheck",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    "envoy.service.discovery.v3.Resource",
];

#[test]
fn the_descriptors_have_all_that_envoy_types_has() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protobuf.bin");
    if let Some(newer) = std::env::var_os("UPDATE_DESCRIPTORS") {
        let newer = excerpt(read(Path::new(&newer)));
        std::fs::write(&path, newer.encode_to_vec()).expect("written");
    }
    let Some(published) = published() else {
        eprintln!("skipped: cargo has no descriptors of envoy-types");
        return;
    };
    let (ours, theirs) = (fields(&read(&path)), fields(&excerpt(read(&published))));
    let missing: Vec<_> = theirs.difference(&ours).collect();
    assert!(
        missing.is_empty(),
        "envoy-types has more, see the top of this file: {missing:#?}"
    );
    assert!(theirs.len() > 500, "{}", theirs.len());
}

fn read(path: &Path) -> FileDescriptorSet {
    let bytes = std::fs::read(path).expect("a file");
    FileDescriptorSet::decode(bytes.as_slice()).expect("descriptors")
}

/// Every field with all that decides how its bytes are read.
fn fields(set: &FileDescriptorSet) -> BTreeSet<String> {
    fn enter(message: &DescriptorProto, holder: &str, all: &mut BTreeSet<String>) {
        let name = format!("{holder}.{}", message.name());
        for field in &message.field {
            let (number, kind) = (field.number(), field.r#type());
            let (label, of) = (field.label(), field.type_name());
            all.insert(format!(
                "{name}.{} = {number}: {label:?} {kind:?} {of}",
                field.name()
            ));
        }
        message
            .nested_type
            .iter()
            .for_each(|inner| enter(inner, &name, all));
    }
    let mut all = BTreeSet::new();
    for file in &set.file {
        file.message_type
            .iter()
            .for_each(|message| enter(message, file.package(), &mut all));
    }
    all
}

/// Where cargo has the sources of `envoy-types`: descriptors are in its package, though no code of
/// it reads them.
fn published() -> Option<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let told = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--all-features"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    // Without a network it may not know all that other systems would need.
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).ok()?;
    let packages = told["packages"].as_array().expect("packages");
    let package = packages
        .iter()
        .find(|package| package["name"] == "envoy-types")?;
    let manifest = Path::new(package["manifest_path"].as_str()?);
    Some(manifest.with_file_name("src/generated/types.bin")).filter(|path| path.exists())
}

/// Only what the roots lead to, and of that only what decides how bytes are read.
fn excerpt(mut whole: FileDescriptorSet) -> FileDescriptorSet {
    // Messages and enumerations inside a message come with it.
    let mut outermost = BTreeMap::new();
    let mut refers = BTreeMap::<String, BTreeSet<String>>::new();
    for file in &whole.file {
        for message in &file.message_type {
            let name = format!("{}.{}", file.package(), message.name());
            enter(message, &name, &name, &mut outermost, &mut refers);
        }
        for one in &file.enum_type {
            let name = format!("{}.{}", file.package(), one.name());
            outermost.insert(name.clone(), name);
        }
    }
    let mut wanted = BTreeSet::new();
    let mut next: Vec<String> = ROOTS.map(str::to_owned).to_vec();
    while let Some(name) = next.pop() {
        let name = &outermost[&name];
        if wanted.insert(name.clone()) {
            next.extend(refers.get(name).into_iter().flatten().cloned());
        }
    }
    for file in &mut whole.file {
        let package = file.package().to_owned();
        let keep = |name: &str| wanted.contains(&format!("{package}.{name}"));
        let (mut messages, mut enums) = (
            std::mem::take(&mut file.message_type),
            std::mem::take(&mut file.enum_type),
        );
        messages.retain(|message| keep(message.name()));
        enums.retain(|one| keep(one.name()));
        messages.iter_mut().for_each(strip);
        enums.iter_mut().for_each(strip_enum);
        *file = FileDescriptorProto {
            name: file.name.take(),
            package: file.package.take(),
            syntax: file.syntax.take(),
            dependency: std::mem::take(&mut file.dependency),
            message_type: messages,
            enum_type: enums,
            ..FileDescriptorProto::default()
        };
    }
    let empty =
        |file: &FileDescriptorProto| file.message_type.is_empty() && file.enum_type.is_empty();
    whole.file.retain(|file| !empty(file));
    let left: BTreeSet<String> = whole
        .file
        .iter()
        .map(|file| file.name().to_owned())
        .collect();
    for file in &mut whole.file {
        file.dependency.retain(|name| left.contains(name));
    }
    whole
}

fn enter(
    message: &DescriptorProto,
    name: &str,
    outer: &str,
    outermost: &mut BTreeMap<String, String>,
    refers: &mut BTreeMap<String, BTreeSet<String>>,
) {
    outermost.insert(name.to_owned(), outer.to_owned());
    for one in &message.enum_type {
        outermost.insert(format!("{name}.{}", one.name()), outer.to_owned());
    }
    for field in &message.field {
        if matches!(field.r#type(), Type::Message | Type::Enum) {
            let other = field.type_name().trim_start_matches('.').to_owned();
            refers.entry(outer.to_owned()).or_default().insert(other);
        }
    }
    for inner in &message.nested_type {
        enter(
            inner,
            &format!("{name}.{}", inner.name()),
            outer,
            outermost,
            refers,
        );
    }
}

fn strip(message: &mut DescriptorProto) {
    let map_entry = message
        .options
        .as_ref()
        .and_then(|options| options.map_entry);
    message.options = map_entry.map(|map_entry| MessageOptions {
        map_entry: Some(map_entry),
        ..MessageOptions::default()
    });
    message.reserved_range.clear();
    message.reserved_name.clear();
    for field in &mut message.field {
        field.options = None;
        field.json_name = None;
    }
    message
        .oneof_decl
        .iter_mut()
        .for_each(|oneof| oneof.options = None);
    message.nested_type.iter_mut().for_each(strip);
    message.enum_type.iter_mut().for_each(strip_enum);
}

fn strip_enum(one: &mut EnumDescriptorProto) {
    one.options = None;
    one.reserved_range.clear();
    one.reserved_name.clear();
    one.value.iter_mut().for_each(|value| value.options = None);
}
