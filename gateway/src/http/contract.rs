//! The contract's own types within the OpenAPI document: their schemas are the very ones that `schemas/wire` is written from.

use std::borrow::Cow;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};
use talkfleet_shared::chat;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        OpenApi, RefOr,
        schema::{ObjectBuilder, Schema},
    },
};

macro_rules! contract {
    ($($name:ident),*) => {
        $(
            /// Stands for the type of the same name in the contract.
            pub(super) struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    ObjectBuilder::new().into()
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
            }
        )*

        fn every(generator: &mut SchemaGenerator) {
            $(generator.subschema_for::<chat::$name>();)*
        }
    };
}

contract!(Answer, Frame, HistoryReply);

/// The document as it is served: what the routes say, with the contract's schemas in the places kept for them.
pub(super) fn document(api: &OpenApi) -> Value {
    let mut document = json!(api);
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    every(&mut generator);
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(generator.take_definitions(true));
    }
    document["components"]["securitySchemes"] =
        json!({ "key": { "type": "http", "scheme": "bearer", "description": "An API key, or a visitor's token" } });
    document
}
