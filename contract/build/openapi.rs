//! Writes the OpenAPI 3.1 document of the vDC's JSON face from the descriptors, comments included,
//! so that it cannot drift from the protos. Every unary call is `POST /<package>.<Service>/<Method>`.
//!
//! Mapping of proto to JSON: <https://protobuf.dev/programming-guides/json/>.

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

/// Services that browsers and tools may call; `quantix.node.v1` is between vDC and hosts only.
fn is_public(package: &str) -> bool {
    package.starts_with("quantix.") && package != "quantix.node.v1"
}

/// The whole document.
pub fn document(pool: &DescriptorPool) -> Value {
    let mut paths = Map::new();
    for service in pool.services().filter(|s| is_public(s.package_name())) {
        for method in service.methods() {
            let streaming = method.is_server_streaming() || method.is_client_streaming();
            let media = if streaming { "application/connect+json" } else { "application/json" };
            let name = format!("/{}/{}", service.full_name(), method.name());
            paths.insert(
                name,
                json!({"post": {
                    "operationId": format!("{}.{}", service.name(), method.name()),
                    "tags": [service.name()],
                    "description": comment(method.parent_file().file_descriptor_proto(), method.path()),
                    "requestBody": {"required": true, "content": {media: {"schema": reference(method.input().full_name())}}},
                    "responses": {
                        "200": {"description": "Done.", "content": {media: {"schema": reference(method.output().full_name())}}},
                        "default": {"description": "Refused or failed; `details` carries a quantix.fault.v1.FaultDetail.",
                            "content": {"application/json": {"schema": reference("connect.Error")}}},
                    },
                }}),
            );
        }
    }
    let mut schemas = Map::new();
    schemas.insert("connect.Error".into(), json!({"type": "object", "properties": {
        "code": {"type": "string"}, "message": {"type": "string"},
        "details": {"type": "array", "items": {"type": "object", "properties": {
            "type": {"type": "string"}, "value": {"type": "string", "contentEncoding": "base64"}, "debug": {"type": "object"}}}}}}));
    for message in pool.all_messages().filter(|m| is_public(m.package_name()) && !m.is_map_entry()) {
        schemas.insert(message.full_name().into(), message_schema(&message));
    }
    for item in pool.all_enums().filter(|e| is_public(e.package_name())) {
        schemas.insert(item.full_name().into(), enum_schema(&item));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Quantix-vDC", "version": env!("CARGO_PKG_VERSION"),
            "description": "JSON face of the Connect API. The same calls answer gRPC and gRPC-Web."},
        "components": {"schemas": schemas, "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "cookie": {"type": "apiKey", "in": "cookie", "name": "quantix_session"}}},
        "security": [{"bearer": []}, {"cookie": []}],
        "paths": paths,
    })
}

fn reference(full_name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{full_name}")})
}

fn message_schema(message: &MessageDescriptor) -> Value {
    let properties: Map<String, Value> = message
        .fields()
        .map(|field| {
            let mut schema = field_schema(&field);
            let text = comment(message.parent_file().file_descriptor_proto(), field.path());
            if !text.is_empty()
                && let Some(object) = schema.as_object_mut()
            {
                object.insert("description".into(), text.into());
            }
            (field.json_name().to_owned(), schema)
        })
        .collect();
    json!({"type": "object", "properties": properties,
        "description": comment(message.parent_file().file_descriptor_proto(), message.path())})
}

fn enum_schema(item: &EnumDescriptor) -> Value {
    let names: Vec<String> = item.values().map(|v| v.name().to_owned()).collect();
    json!({"type": "string", "enum": names,
        "description": comment(item.parent_file().file_descriptor_proto(), item.path())})
}

fn field_schema(field: &FieldDescriptor) -> Value {
    let one = kind_schema(&field.kind());
    if field.is_list() { json!({"type": "array", "items": one}) } else { one }
}

fn kind_schema(kind: &Kind) -> Value {
    match kind {
        Kind::Double | Kind::Float => json!({"type": "number"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "format": "int64"}),
        Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Message(m) if m.full_name() == "google.protobuf.Timestamp" => {
            json!({"type": "string", "format": "date-time"})
        }
        Kind::Message(m) => reference(m.full_name()),
        Kind::Enum(e) => reference(e.full_name()),
    }
}

/// Leading comment of the thing at `path`, in one line.
fn comment(file: &prost_reflect::prost_types::FileDescriptorProto, path: &[i32]) -> String {
    let Some(info) = &file.source_code_info else { return String::new() };
    info.location
        .iter()
        .find(|l| l.path == path)
        .and_then(|l| l.leading_comments.as_deref())
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .unwrap_or_default()
}
