// Stands in for what wasm-bindgen makes of src/web/, so that types can be checked before anything is built.

declare const init: (options: { module_or_path: unknown }) => Promise<{ memory: WebAssembly.Memory }>;
export default init;
