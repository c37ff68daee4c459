//! The one `bindgen!` of this version: everything generated from `wit/`, and nothing else.
#![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated code")]

wasmtime::component::bindgen!({
    inline: "
        package tunesmith:host@0.1.0;

        world plugin {
            include tunesmith:method/curate-plugin@0.1.2;
            include tunesmith:method/judge-plugin@0.1.2;
            include tunesmith:method/reward-plugin@0.1.2;
            include tunesmith:method/credit-plugin@0.1.2;
            include tunesmith:method/weigh-plugin@0.1.2;
            include tunesmith:method/objective-plugin@0.1.2;
            include tunesmith:method/edit-plugin@0.1.2;
            include tunesmith:method/measure-plugin@0.1.2;
            include tunesmith:method/answer-plugin@0.1.2;
            include tunesmith:method/retain-plugin@0.1.2;
            include tunesmith:method/state-plugin@0.1.2;
        }
    ",
    path: "../../wit",
    world: "plugin",
    imports: { default: trappable },
    with: {
        "tunesmith:method/data.examples": crate::wasm::v0_1::views::Examples,
        "tunesmith:method/data.training-set": crate::wasm::v0_1::views::TrainingSet,
        "tunesmith:method/answers.cases": crate::wasm::v0_1::views::Cases,
        "tunesmith:method/answers.rollouts": crate::wasm::v0_1::views::Rollouts,
        "tunesmith:method/answers.evaluation": crate::wasm::v0_1::views::Evaluation,
        "tunesmith:method/batches.token-batch": crate::wasm::v0_1::views::TokenBatch,
        "tunesmith:method/batches.batch": crate::wasm::v0_1::views::Batch,
        "tunesmith:method/tensors.tensor": crate::wasm::v0_1::desk::Handle,
        "tunesmith:method/model.prompts": crate::wasm::v0_1::views::Prompts,
        "tunesmith:method/model.sampling": crate::wasm::v0_1::views::Sampling,
        "tunesmith:method/model.generations": crate::wasm::v0_1::views::Generations,
        "tunesmith:method/model.scores": crate::wasm::v0_1::views::Scores,
        "tunesmith:method/model.forward-request": crate::wasm::v0_1::views::ForwardRequest,
        "tunesmith:method/model.forward-pass": crate::wasm::v0_1::views::ForwardPass,
        "tunesmith:method/model.language-model": crate::wasm::v0_1::views::Model,
        "tunesmith:method/parameters.parameter-set": crate::wasm::v0_1::views::ParameterSet,
        "tunesmith:method/cache.cache-block": crate::wasm::v0_1::views::CacheBlock,
    },
});
