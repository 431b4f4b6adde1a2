//! Looking into another process's memory, for /proc.

use super::{PAGE, Vm};

impl Vm {
    /// Copies bytes from `address` on, as far as pages are there; answers how many.
    pub fn peek(&self, address: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let Some(at) = address.checked_add(done) else { break };
            let Some((frame, _)) = self.inner.lock().space.query(at & !(PAGE - 1)) else {
                break;
            };
            let within = at % PAGE;
            let n = (PAGE - within).min(out.len() - done);
            let Some(part) = out.get_mut(done..done + n) else { break };
            frame.read(within, part);
            done += n;
        }
        done
    }

    /// Pages of page tables.
    pub fn table_pages(&self) -> usize {
        self.inner.lock().space.table_pages()
    }

    /// Where the heap begins and ends.
    pub fn heap(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.brk_start, inner.brk)
    }
}
