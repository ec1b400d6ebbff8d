// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files in memory, for tests: also what no healthy filesystem has.

use std::collections::HashMap;
use std::ops::ControlFlow;

use crate::extent::ExtentSet;
use crate::fs::Files;
use crate::fs::files::{Attributes, DirectoryEntry, EachEntry, FileResult, Node, NodeKind, Times};
use crate::ondisk::FormatError;

/// The content and attributes of a node.
#[derive(Debug, Clone)]
pub(crate) struct FakeNode {
    pub(crate) attributes: Attributes,
    pub(crate) content: Vec<u8>,
    pub(crate) names: Vec<(Vec<u8>, u64)>,
    pub(crate) is_damaged: bool,
    pub(crate) places: Option<ExtentSet>,
    pub(crate) extended: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) streams: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A filesystem in memory; node 0 is its root.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) nodes: HashMap<u64, FakeNode>,
}

impl Default for Fake {
    fn default() -> Self {
        let mut fake = Self { nodes: HashMap::new() };
        fake.add(NodeKind::Folder, b"");
        fake
    }
}

impl Fake {
    fn add(&mut self, kind: NodeKind, content: &[u8]) -> u64 {
        let number = self.nodes.len() as u64;
        let time = jiff::Timestamp::new(1_700_000_000, 123_456_700).unwrap();
        let attributes = Attributes {
            kind,
            size: content.len() as u64,
            allocated: None,
            times: Times { modified: Some(time), accessed: Some(time), ..Times::default() },
            mode: Some(if kind == NodeKind::Folder { 0o755 } else { 0o644 }),
            owner: None,
            links: 1,
            dos: None,
        };
        let node = FakeNode {
            attributes,
            content: content.to_vec(),
            names: Vec::new(),
            is_damaged: false,
            places: None,
            extended: Vec::new(),
            streams: Vec::new(),
        };
        self.nodes.insert(number, node);
        number
    }

    pub(crate) fn node(&mut self, folder: u64, name: &[u8], kind: NodeKind, content: &[u8]) -> u64 {
        let number = self.add(kind, content);
        self.link_folder(folder, name, number);
        number
    }

    pub(crate) fn file(&mut self, folder: u64, name: &[u8], content: &[u8]) -> u64 {
        self.node(folder, name, NodeKind::File, content)
    }

    pub(crate) fn folder(&mut self, folder: u64, name: &[u8]) -> u64 {
        self.node(folder, name, NodeKind::Folder, b"")
    }

    pub(crate) fn link(&mut self, folder: u64, name: &[u8], target: &[u8]) -> u64 {
        self.node(folder, name, NodeKind::Link, target)
    }

    /// A further name of something.
    pub(crate) fn link_folder(&mut self, folder: u64, name: &[u8], node: u64) {
        self.get_mut(folder).names.push((name.to_vec(), node));
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> &mut FakeNode {
        self.nodes.get_mut(&number).unwrap()
    }

    fn get(&self, node: Node) -> FileResult<&FakeNode> {
        let found = self.nodes.get(&node.number);
        found.ok_or_else(|| FormatError::corrupt("node", node.number, "one that is there", "none"))
    }
}

impl Files for Fake {
    fn root(&self) -> Node {
        Node::new(0)
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        Ok(self.get(node)?.attributes.clone())
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        let found = self.get(folder)?;
        if found.is_damaged {
            return Err(FormatError::corrupt("folder", folder.number, "a folder", "junk"));
        }
        for (name, number) in &found.names {
            let kind = self.get(Node::new(*number))?.attributes.kind;
            let entry = DirectoryEntry { name: name.clone(), node: Node::new(*number), kind };
            if each(Ok(entry)) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let found = self.get(file)?;
        if found.is_damaged && offset + buf.len() as u64 > found.attributes.size / 2 {
            return Err(FormatError::corrupt("file", file.number, "data", "junk"));
        }
        let rest = found.content.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn link_target(&self, link: Node) -> FileResult<Vec<u8>> {
        Ok(self.get(link)?.content.clone())
    }

    fn places(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        Ok(self.get(file)?.places.clone())
    }

    fn extended_attributes(&self, node: Node) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.get(node)?.extended.clone())
    }

    fn streams(&self, file: Node) -> FileResult<Vec<(Vec<u8>, u64)>> {
        let streams = &self.get(file)?.streams;
        Ok(streams.iter().map(|(name, content)| (name.clone(), content.len() as u64)).collect())
    }

    fn read_stream_at(
        &self,
        file: Node,
        stream: &[u8],
        offset: u64,
        buf: &mut [u8],
    ) -> FileResult<usize> {
        let found = self.get(file)?.streams.iter().find(|(name, _)| name == stream);
        let (_, content) = found.ok_or_else(|| FormatError::unsupported("no such stream"))?;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}
