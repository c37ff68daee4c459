//! `parameters` and `cache`: what `edit` and `retain` work on.

use wasmtime::component::Resource;

use crate::grants::Grant;
use crate::wasm::v0_1::bindings::tunesmith::method::{cache, parameters, types};
use crate::wasm::v0_1::call::{CallState, refusal};
use crate::wasm::v0_1::desk::Handle;
use crate::wasm::v0_1::views::{CacheBlock, ParameterSet};

impl parameters::Host for CallState {}

impl parameters::HostParameterSet for CallState {
    fn names(&mut self, parameters: Resource<ParameterSet>) -> wasmtime::Result<Vec<String>> {
        self.expect(Grant::Parameters)?;
        Ok(self.table.get(&parameters)?.0.names())
    }

    fn get(
        &mut self,
        parameters: Resource<ParameterSet>,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, types::Error>> {
        self.get_parameter(&parameters, None, &name)
    }

    fn get_from(
        &mut self,
        parameters: Resource<ParameterSet>,
        snapshot: String,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, types::Error>> {
        self.get_parameter(&parameters, Some(&snapshot), &name)
    }

    fn set(
        &mut self,
        parameters: Resource<ParameterSet>,
        name: String,
        value: Resource<Handle>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        self.expect(Grant::Parameters)?;
        let value = self.id(&value)?;
        let parameters = self.table.get(&parameters)?.0.clone();
        Ok(self.serve(|| parameters.set(&name, value))?.map_err(|error| refusal(&error)))
    }

    fn step(&mut self, parameters: Resource<ParameterSet>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&parameters)?.0.step())
    }

    fn drop(&mut self, parameters: Resource<ParameterSet>) -> wasmtime::Result<()> {
        self.table.delete(parameters)?;
        Ok(())
    }
}

impl CallState {
    fn get_parameter(
        &mut self,
        parameters: &Resource<ParameterSet>,
        snapshot: Option<&str>,
        name: &str,
    ) -> wasmtime::Result<Result<Resource<Handle>, types::Error>> {
        self.expect(Grant::Parameters)?;
        let parameters = self.table.get(parameters)?.0.clone();
        Ok(match self.serve(|| parameters.get(snapshot, name))? {
            Ok(id) => Ok(self.hand_over(id)?),
            Err(error) => Err(refusal(&error)),
        })
    }
}

impl cache::Host for CallState {}

impl cache::HostCacheBlock for CallState {
    fn layer(&mut self, block: Resource<CacheBlock>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&block)?.0.layer() as u32)
    }

    fn keys(&mut self, block: Resource<CacheBlock>) -> wasmtime::Result<Resource<Handle>> {
        let keys = self.table.get(&block)?.0.keys();
        self.hand_over(keys)
    }

    fn values(&mut self, block: Resource<CacheBlock>) -> wasmtime::Result<Resource<Handle>> {
        let values = self.table.get(&block)?.0.values();
        self.hand_over(values)
    }

    fn budget(&mut self, block: Resource<CacheBlock>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&block)?.0.budget() as u32)
    }

    fn drop(&mut self, block: Resource<CacheBlock>) -> wasmtime::Result<()> {
        self.table.delete(block)?;
        Ok(())
    }
}
