//! The fixed newstyle handshake and its options.

use super::{Export, wire::bytes};
use std::io::{self, Read, Write};
use std::sync::Arc;

const SERVER_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;
/// An option's data is a name and a few numbers.
const MAX_OPTION_BYTES: u32 = 64 << 10;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_LIST: u32 = 3;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;

const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 0x8000_0001;
const REP_ERR_INVALID: u32 = 0x8000_0003;
const REP_ERR_UNKNOWN: u32 = 0x8000_0006;

const INFO_EXPORT: u16 = 0;

/// HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES.
const TRANSMISSION_FLAGS: u16 = 1 | 4 | 8 | 32 | 64;

type Exports = [(String, Arc<dyn Export>)];

/// The export that the client has chosen; `None` when it has ended the conversation.
pub(super) fn negotiate(
    reader: &mut impl Read,
    writer: &mut impl Write,
    exports: &Exports,
) -> io::Result<Option<Arc<dyn Export>>> {
    writer.write_all(&SERVER_MAGIC.to_be_bytes())?;
    writer.write_all(&OPTION_MAGIC.to_be_bytes())?;
    writer.write_all(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes())?;
    let flags = u32::from_be_bytes(bytes(reader)?);
    loop {
        if u64::from_be_bytes(bytes(reader)?) != OPTION_MAGIC {
            return Err(io::Error::other("not an option"));
        }
        let option = u32::from_be_bytes(bytes(reader)?);
        let length = u32::from_be_bytes(bytes(reader)?);
        if length > MAX_OPTION_BYTES {
            return Err(io::Error::other("an option that is too long"));
        }
        let mut data = vec![0; length as usize];
        reader.read_exact(&mut data)?;
        match option {
            OPT_EXPORT_NAME => {
                let export = find(exports, &data).ok_or_else(|| io::Error::other("no such export"))?;
                writer.write_all(&export.size().to_be_bytes())?;
                writer.write_all(&TRANSMISSION_FLAGS.to_be_bytes())?;
                if flags & u32::from(NO_ZEROES) == 0 {
                    writer.write_all(&[0; 124])?;
                }
                return Ok(Some(export));
            }
            OPT_ABORT => {
                reply(writer, option, REP_ACK, &[])?;
                return Ok(None);
            }
            OPT_LIST if data.is_empty() => {
                for (name, _) in exports {
                    let mut item = (name.len() as u32).to_be_bytes().to_vec();
                    item.extend(name.as_bytes());
                    reply(writer, option, REP_SERVER, &item)?;
                }
                reply(writer, option, REP_ACK, &[])?;
            }
            OPT_INFO | OPT_GO => {
                let Some(name) = name_of(&data) else {
                    reply(writer, option, REP_ERR_INVALID, &[])?;
                    continue;
                };
                let Some(export) = find(exports, name) else {
                    reply(writer, option, REP_ERR_UNKNOWN, &[])?;
                    continue;
                };
                let mut info = INFO_EXPORT.to_be_bytes().to_vec();
                info.extend(export.size().to_be_bytes());
                info.extend(TRANSMISSION_FLAGS.to_be_bytes());
                reply(writer, option, REP_INFO, &info)?;
                reply(writer, option, REP_ACK, &[])?;
                if option == OPT_GO {
                    return Ok(Some(export));
                }
            }
            _ => reply(writer, option, REP_ERR_UNSUP, &[])?,
        }
    }
}

/// The name in the data of `INFO` and `GO`: its length, itself, and what else is asked for.
fn name_of(data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    rest.get(..u32::from_be_bytes(*length) as usize)
}

fn find(exports: &Exports, name: &[u8]) -> Option<Arc<dyn Export>> {
    exports
        .iter()
        .find(|(known, _)| known.as_bytes() == name)
        .map(|(_, export)| Arc::clone(export))
}

fn reply(writer: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut reply = Vec::with_capacity(20 + data.len());
    reply.extend(REPLY_MAGIC.to_be_bytes());
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend((data.len() as u32).to_be_bytes());
    reply.extend(data);
    writer.write_all(&reply)
}
