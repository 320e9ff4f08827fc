//! Tests that run compiled to wasm in a real browser: `npm test -- web`.
#![cfg(target_arch = "wasm32")]

use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// Calls a method without arguments by its name, so that the crate needs no binding for it.
fn call(object: &JsValue, method: &str) -> Result<JsValue, JsValue> {
    let method = js_sys::Reflect::get(object, &method.into())?;
    method.dyn_into::<js_sys::Function>()?.call0(object)
}

#[wasm_bindgen_test]
async fn the_browser_offers_webgpu() -> Result<(), JsValue> {
    let navigator = js_sys::Reflect::get(&js_sys::global(), &"navigator".into())?;
    let gpu = js_sys::Reflect::get(&navigator, &"gpu".into())?;
    let request = call(&gpu, "requestAdapter")?.dyn_into::<js_sys::Promise>()?;
    let adapter = JsFuture::from(request).await?;
    assert!(adapter.is_object(), "navigator.gpu.requestAdapter() gave {adapter:?}");
    Ok(())
}
