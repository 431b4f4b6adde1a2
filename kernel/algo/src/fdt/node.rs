//! Nodes, their properties, and how to find them.

use super::{Fdt, MAX_DEPTH, Token, be32, be64, c_str};

/// A node of a checked tree.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub(super) fdt: Fdt<'a>,
    /// The name with its unit address; empty for the root.
    name: &'a str,
    /// The structure offset after the name.
    pub(super) body: usize,
}

/// A property: its name and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    /// The name.
    pub name: &'a str,
    /// The value, not interpreted.
    pub value: &'a [u8],
}

impl<'a> Fdt<'a> {
    /// The root node.
    pub fn root(&self) -> Node<'a> {
        let (name, body) = match self.token(0) {
            Some((Token::Begin(name), body)) => (name, body),
            // Not after the check of `new`.
            _ => ("", self.structure.len()),
        };
        Node { fdt: *self, name, body }
    }

    /// All nodes, the root first, parents before children.
    pub fn nodes(&self) -> Nodes<'a> {
        Nodes { fdt: *self, at: 0 }
    }

    /// The node at an absolute path as `/soc/serial@7e201000`. A component without unit address matches the first child of that name.
    pub fn find(&self, path: &str) -> Option<Node<'a>> {
        let mut node = self.root();
        for part in path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()) {
            node = node.child(part)?;
        }
        Some(node)
    }

    /// A path or an alias, with an optional `:options` behind it, as in `stdout-path`. The node and the options.
    pub fn resolve<'s>(&self, path: &'s str) -> Option<(Node<'a>, Option<&'s str>)> {
        let (path, options) = match path.split_once(':') {
            Some((path, options)) => (path, Some(options)),
            None => (path, None),
        };
        if path.starts_with('/') {
            return Some((self.find(path)?, options));
        }
        let (alias, rest) = path.split_once('/').unwrap_or((path, ""));
        let mut node = self.find(self.find("/aliases")?.str(alias)?)?;
        for part in rest.split('/').filter(|part| !part.is_empty()) {
            node = node.child(part)?;
        }
        Some((node, options))
    }

    /// The nodes whose `compatible` has this string, whatever their `status`.
    pub fn find_compatible<'s>(&self, compatible: &'s str) -> Compatible<'a, 's> {
        Compatible {
            nodes: self.nodes(),
            compatible,
        }
    }

    /// The node with this phandle (`phandle`, or `linux,phandle` of old trees).
    pub fn find_phandle(&self, phandle: u32) -> Option<Node<'a>> {
        self.nodes().find(|node| node.phandle() == Some(phandle))
    }
}

impl<'a> Node<'a> {
    /// The name with its unit address (`serial@9000000`); empty for the root.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The name without its unit address.
    pub fn base_name(&self) -> &'a str {
        self.name.split('@').next().unwrap_or(self.name)
    }

    /// The tree that the node belongs to.
    pub fn fdt(&self) -> Fdt<'a> {
        self.fdt
    }

    /// Whether both are the same node of the same tree.
    pub fn is_same(&self, other: &Node<'_>) -> bool {
        self.body == other.body && core::ptr::eq(self.fdt.structure.as_ptr(), other.fdt.structure.as_ptr())
    }

    /// The properties in order.
    pub fn properties(&self) -> Properties<'a> {
        Properties {
            fdt: self.fdt,
            at: self.body,
        }
    }

    /// The bytes of a property.
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        self.properties()
            .find(|property| property.name == name)
            .map(|property| property.value)
    }

    /// A property of exactly one cell.
    pub fn u32(&self, name: &str) -> Option<u32> {
        self.property(name)
            .filter(|value| value.len() == 4)
            .and_then(|value| be32(value, 0))
    }

    /// A property of one cell or of two.
    pub fn u64(&self, name: &str) -> Option<u64> {
        let value = self.property(name)?;
        match value.len() {
            4 => be32(value, 0).map(u64::from),
            8 => be64(value, 0),
            _ => None,
        }
    }

    /// A property that is a string (the first one of a list).
    pub fn str(&self, name: &str) -> Option<&'a str> {
        c_str(self.property(name)?)
    }

    /// The strings of a list; empty when there is no such property.
    pub fn strings(&self, name: &str) -> Strings<'a> {
        Strings {
            rest: self.property(name).unwrap_or_default(),
        }
    }

    /// The 32-bit cells of a property; empty when there is no such property.
    pub fn cells(&self, name: &str) -> Cells<'a> {
        Cells {
            rest: self.property(name).unwrap_or_default(),
        }
    }

    /// The raw cells of `interrupts`; how many make one interrupt is `#interrupt-cells` of [`interrupt_parent`](Self::interrupt_parent).
    pub fn interrupts(&self) -> Cells<'a> {
        self.cells("interrupts")
    }

    /// The interrupt controller of this node: `interrupt-parent` of it or of the nearest ancestor that has one.
    pub fn interrupt_parent(&self) -> Option<Node<'a>> {
        let mut at = Some(*self);
        while let Some(node) = at {
            if let Some(phandle) = node.u32("interrupt-parent") {
                return self.fdt.find_phandle(phandle);
            }
            at = node.parent();
        }
        None
    }

    /// Whether `compatible` has this string.
    pub fn is_compatible(&self, compatible: &str) -> bool {
        self.strings("compatible").any(|string| string == compatible)
    }

    /// Whether `status` is absent, `okay` or `ok`.
    pub fn is_enabled(&self) -> bool {
        match self.property("status") {
            None => true,
            Some(value) => matches!(c_str(value), Some("okay" | "ok")),
        }
    }

    /// The number by which other nodes name this one.
    pub fn phandle(&self) -> Option<u32> {
        self.u32("phandle").or_else(|| self.u32("linux,phandle"))
    }

    /// The direct children.
    pub fn children(&self) -> Children<'a> {
        Children {
            fdt: self.fdt,
            at: self.body,
        }
    }

    /// The first child of that name; without a unit address in `name`, the children's are ignored.
    pub fn child(&self, name: &str) -> Option<Node<'a>> {
        let exact = name.contains('@');
        self.children().find(|child| {
            if exact {
                child.name == name
            } else {
                child.base_name() == name
            }
        })
    }

    /// The node that this one is a child of; `None` for the root.
    pub fn parent(&self) -> Option<Node<'a>> {
        let (path, depth) = self.ancestors();
        path.get(depth.checked_sub(1)?).copied().flatten()
    }

    /// The ancestors, the root first, and how many there are.
    pub(super) fn ancestors(&self) -> ([Option<Node<'a>>; MAX_DEPTH], usize) {
        let mut path = [None; MAX_DEPTH];
        let mut depth = 0;
        let mut at = 0;
        while let Some((token, next)) = self.fdt.token(at) {
            match token {
                Token::Begin(_) if next == self.body => return (path, depth),
                Token::Begin(name) => {
                    if let Some(slot) = path.get_mut(depth) {
                        *slot = Some(Node {
                            fdt: self.fdt,
                            name,
                            body: next,
                        });
                    }
                    depth += 1;
                }
                Token::End => depth = depth.saturating_sub(1),
                Token::Property(..) => {}
                Token::Finish => break,
            }
            at = next;
        }
        (path, 0)
    }
}

/// Iterator of [`Fdt::nodes`].
#[derive(Clone, Debug)]
pub struct Nodes<'a> {
    fdt: Fdt<'a>,
    at: usize,
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        loop {
            let (token, next) = self.fdt.token(self.at)?;
            match token {
                Token::Begin(name) => {
                    self.at = next;
                    return Some(Node {
                        fdt: self.fdt,
                        name,
                        body: next,
                    });
                }
                Token::End | Token::Property(..) => self.at = next,
                Token::Finish => return None,
            }
        }
    }
}

/// Iterator of [`Fdt::find_compatible`].
#[derive(Clone, Debug)]
pub struct Compatible<'a, 's> {
    nodes: Nodes<'a>,
    compatible: &'s str,
}

impl<'a> Iterator for Compatible<'a, '_> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        self.nodes.find(|node| node.is_compatible(self.compatible))
    }
}

/// Iterator of [`Node::children`].
#[derive(Clone, Debug)]
pub struct Children<'a> {
    fdt: Fdt<'a>,
    at: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        loop {
            let (token, next) = self.fdt.token(self.at)?;
            match token {
                Token::Begin(name) => {
                    // Go on after the child's end.
                    let mut depth = 1;
                    let mut at = next;
                    while depth > 0 {
                        let (token, next) = self.fdt.token(at)?;
                        match token {
                            Token::Begin(_) => depth += 1,
                            Token::End => depth -= 1,
                            Token::Property(..) => {}
                            Token::Finish => return None,
                        }
                        at = next;
                    }
                    self.at = at;
                    return Some(Node {
                        fdt: self.fdt,
                        name,
                        body: next,
                    });
                }
                Token::Property(..) => self.at = next,
                Token::End | Token::Finish => return None,
            }
        }
    }
}

/// Iterator of [`Node::properties`].
#[derive(Clone, Debug)]
pub struct Properties<'a> {
    fdt: Fdt<'a>,
    at: usize,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let (Token::Property(name, value), next) = self.fdt.token(self.at)? else {
            return None;
        };
        self.at = next;
        Some(Property { name, value })
    }
}

/// Iterator of [`Node::strings`].
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let string = c_str(self.rest)?;
        self.rest = self.rest.get(string.len() + 1..)?;
        Some(string)
    }
}

/// Iterator of [`Node::cells`].
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    rest: &'a [u8],
}

impl Iterator for Cells<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (cell, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*cell))
    }
}
