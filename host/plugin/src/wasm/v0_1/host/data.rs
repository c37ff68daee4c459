//! `data`: the pool, and the training set that a plugin builds.

use tunesmith_core::data::Member;
use tunesmith_core::stage::Choice;
use wasmtime::component::Resource;

use crate::text;
use crate::wasm::fault::Cause;
use crate::wasm::v0_1::bindings::tunesmith::method::data;
use crate::wasm::v0_1::call::{CallState, row};
use crate::wasm::v0_1::host::model::conversation_of;
use crate::wasm::v0_1::views::{Examples, TrainingSet};

impl data::Host for CallState {}

impl data::HostExamples for CallState {
    fn len(&mut self, pool: Resource<Examples>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&pool)?.0.rows.len() as u32)
    }

    fn ids(&mut self, pool: Resource<Examples>) -> wasmtime::Result<Vec<u64>> {
        Ok(self.table.get(&pool)?.table().ids())
    }

    fn prompts(&mut self, pool: Resource<Examples>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&pool)?.table().prompts())
    }

    fn completions(&mut self, pool: Resource<Examples>) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&pool)?.table().completions())
    }

    fn messages(&mut self, pool: Resource<Examples>) -> wasmtime::Result<Vec<String>> {
        self.table.get(&pool)?.table().messages()
    }

    fn columns(&mut self, pool: Resource<Examples>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&pool)?.table().columns())
    }

    fn column(&mut self, pool: Resource<Examples>, name: String) -> wasmtime::Result<Vec<Option<String>>> {
        Ok(self.table.get(&pool)?.table().column(&name))
    }

    fn round(&mut self, pool: Resource<Examples>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&pool)?.0.round)
    }

    fn drop(&mut self, pool: Resource<Examples>) -> wasmtime::Result<()> {
        self.table.delete(pool)?;
        Ok(())
    }
}

impl data::HostTrainingSet for CallState {
    fn keep(&mut self, set: Resource<TrainingSet>, row: u32, provenance: String) -> wasmtime::Result<()> {
        self.choose(&set, row, 0, |row| Choice::Keep { row, provenance: text::name(&provenance) })
    }

    fn replace(
        &mut self,
        set: Resource<TrainingSet>,
        row: u32,
        completion: String,
        provenance: String,
    ) -> wasmtime::Result<()> {
        let bytes = completion.len();
        self.choose(&set, row, bytes, |row| Choice::Replace { row, completion, provenance: text::name(&provenance) })
    }

    fn add(
        &mut self,
        set: Resource<TrainingSet>,
        prompt: String,
        completion: String,
        provenance: String,
        like: Option<u32>,
    ) -> wasmtime::Result<()> {
        self.hold(prompt.len() + completion.len())?;
        let set = self.table.get_mut(&set)?;
        let like = like.map(|like| row(like, set.rows)).transpose()?;
        set.curated.choices.push(Choice::Add { prompt, completion, provenance: text::name(&provenance), like });
        Ok(())
    }

    fn prefer(
        &mut self,
        set: Resource<TrainingSet>,
        row: u32,
        chosen: String,
        rejected: String,
        provenance: String,
    ) -> wasmtime::Result<()> {
        let bytes = chosen.len() + rejected.len();
        self.choose(&set, row, bytes, |row| Choice::Prefer {
            row,
            chosen,
            rejected,
            provenance: text::name(&provenance),
        })
    }

    fn group(
        &mut self,
        set: Resource<TrainingSet>,
        row: u32,
        roles: Vec<String>,
        completions: Vec<String>,
        provenance: String,
    ) -> wasmtime::Result<()> {
        let (members, bytes) = members(roles, completions)?;
        self.choose(&set, row, bytes, |row| Choice::Group { row, members, provenance: text::name(&provenance) })
    }

    fn add_group(
        &mut self,
        set: Resource<TrainingSet>,
        conversation: String,
        roles: Vec<String>,
        completions: Vec<String>,
        provenance: String,
        like: Option<u32>,
    ) -> wasmtime::Result<()> {
        let (members, bytes) = members(roles, completions)?;
        self.hold(conversation.len() + bytes)?;
        let messages = conversation_of(&conversation)?;
        let set = self.table.get_mut(&set)?;
        let like = like.map(|like| row(like, set.rows)).transpose()?;
        set.curated.choices.push(Choice::AddGroup { messages, members, provenance: text::name(&provenance), like });
        Ok(())
    }

    fn omit(&mut self, set: Resource<TrainingSet>, row: u32, why: String) -> wasmtime::Result<()> {
        self.choose(&set, row, 0, |row| Choice::Drop { row, why: text::name(&why) })
    }

    fn note(&mut self, set: Resource<TrainingSet>, number: u32, name: String, value: f64) -> wasmtime::Result<()> {
        self.hold(0)?;
        let set = self.table.get_mut(&set)?;
        set.curated.notes.push((row(number, set.rows)?, text::name(&name), value));
        Ok(())
    }

    fn drop(&mut self, set: Resource<TrainingSet>) -> wasmtime::Result<()> {
        self.table.delete(set)?;
        Ok(())
    }
}

/// The completions with their roles, and how many bytes they are.
fn members(roles: Vec<String>, completions: Vec<String>) -> wasmtime::Result<(Vec<Member>, usize)> {
    if roles.len() != completions.len() {
        return Err(Cause::Misuse(format!("group: {} roles for {} completions", roles.len(), completions.len())).into());
    }
    let bytes = roles.iter().chain(&completions).map(|text| text.len() + 64).sum();
    Ok((roles.into_iter().zip(completions).map(|(role, completion)| Member { role, completion }).collect(), bytes))
}

impl CallState {
    fn choose(
        &mut self,
        set: &Resource<TrainingSet>,
        number: u32,
        bytes: usize,
        choice: impl FnOnce(usize) -> Choice,
    ) -> wasmtime::Result<()> {
        self.hold(bytes)?;
        let set = self.table.get_mut(set)?;
        let row = row(number, set.rows)?;
        set.curated.choices.push(choice(row));
        Ok(())
    }
}
