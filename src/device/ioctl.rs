// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every system call that needs `unsafe`, behind functions that are safe to
//! call. The only file of the library in which `unsafe` may stand.
//!
//! The numbers are those of `linux/fs.h` and `linux/blkpg.h`. Most of them
//! are `_IO` numbers although they take a pointer, so their types are given
//! here and not by the number.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::libc::{c_int, c_long, c_longlong, c_uint, c_void};

use crate::extent::Extent;

mod raw {
    use super::{
        BlkpgRequest, CdromMultisession, CdromTocEntry, CdromTocHeader, LoopConfig, SgIoHeader,
        c_int, c_long, c_uint,
    };

    // The kernel's header builds this number with size_t, but stores 64 bits.
    nix::ioctl_read_bad!(blkgetsize64, nix::request_code_read!(0x12, 114, size_of::<usize>()), u64);
    nix::ioctl_write_ptr_bad!(blkroset, nix::request_code_none!(0x12, 93), c_int);
    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), c_int);
    nix::ioctl_none_bad!(blkrrpart, nix::request_code_none!(0x12, 95));
    nix::ioctl_none_bad!(blkflsbuf, nix::request_code_none!(0x12, 97));
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), c_int);
    nix::ioctl_write_ptr_bad!(blkpg, nix::request_code_none!(0x12, 105), BlkpgRequest);
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
    nix::ioctl_read_bad!(blkpbszget, nix::request_code_none!(0x12, 123), c_uint);
    // The numbers are built with long, but the kernel reads and stores an int.
    nix::ioctl_read!(fs_ioc_getflags, b'f', 1, c_long);
    nix::ioctl_write_ptr!(fs_ioc_setflags, b'f', 2, c_long);
    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4c82);
    nix::ioctl_write_ptr_bad!(loop_configure, 0x4c0a, LoopConfig);
    nix::ioctl_none_bad!(loop_clr_fd, 0x4c01);
    nix::ioctl_write_ptr_bad!(blkzeroout, nix::request_code_none!(0x12, 127), [u64; 2]);
    nix::ioctl_readwrite_bad!(sg_io, 0x2285, SgIoHeader);
    nix::ioctl_read_bad!(cdrom_read_toc_header, 0x5305, CdromTocHeader);
    nix::ioctl_readwrite_bad!(cdrom_read_toc_entry, 0x5306, CdromTocEntry);
    nix::ioctl_readwrite_bad!(cdrom_multisession, 0x5310, CdromMultisession);
    nix::ioctl_write_int_bad!(cdrom_drive_status, 0x5326);
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
pub(super) struct BlkpgRequest {
    op: c_int,
    flags: c_int,
    datalen: c_int,
    data: *mut c_void,
}

/// `struct blkpg_partition`; the two names are not used by the kernel.
#[repr(C)]
struct BlkpgPartition {
    start: c_longlong,
    length: c_longlong,
    pno: c_int,
    devname: [u8; 64],
    volname: [u8; 64],
}

/// `struct loop_config` with the `struct loop_info64` in it (linux/loop.h).
#[repr(C)]
pub(super) struct LoopConfig {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// `struct sg_io_hdr` (scsi/sg.h).
#[repr(C)]
pub(super) struct SgIoHeader {
    interface_id: c_int,
    dxfer_direction: c_int,
    cmd_len: u8,
    mx_sb_len: u8,
    iovec_count: u16,
    dxfer_len: c_uint,
    dxferp: *mut c_void,
    cmdp: *mut u8,
    sbp: *mut u8,
    timeout: c_uint,
    flags: c_uint,
    pack_id: c_int,
    usr_ptr: *mut c_void,
    status: u8,
    masked_status: u8,
    msg_status: u8,
    sb_len_wr: u8,
    host_status: u16,
    driver_status: u16,
    resid: c_int,
    duration: c_uint,
    info: c_uint,
}

/// `struct cdrom_tochdr` (linux/cdrom.h).
#[repr(C)]
#[derive(Default)]
pub(super) struct CdromTocHeader {
    first: u8,
    last: u8,
}

/// `struct cdrom_tocentry`; its address is a number of a sector here.
#[repr(C)]
#[derive(Default)]
pub(super) struct CdromTocEntry {
    track: u8,
    /// The lower half is ADR, the upper one the control field.
    adr_control: u8,
    format: u8,
    address: c_int,
    data_mode: u8,
}

/// `struct cdrom_multisession`; its address is a number of a sector here.
#[repr(C)]
#[derive(Default)]
pub(super) struct CdromMultisession {
    address: c_int,
    xa_flag: u8,
    format: u8,
}

/// Addresses are numbers of sectors, not minutes, seconds and frames.
const CDROM_LBA: u8 = 1;
/// The disc that is in the drive, of a changer.
const CDSL_CURRENT: c_int = c_int::MAX;

/// The device goes away with the last who has it open.
const LO_FLAGS_AUTOCLEAR: u32 = 4;

const BLKPG_ADD_PARTITION: c_int = 1;
const BLKPG_DEL_PARTITION: c_int = 2;

/// The size of a block device in bytes.
pub(super) fn device_len(device: &File) -> io::Result<u64> {
    let mut len = 0_u64;
    // SAFETY: BLKGETSIZE64 stores one u64, to which the pointer points.
    unsafe { raw::blkgetsize64(device.as_raw_fd(), &raw mut len) }?;
    Ok(len)
}

/// The logical sector size: the unit of addressing.
pub(super) fn logical_sector(device: &File) -> io::Result<u32> {
    let mut size: c_int = 0;
    // SAFETY: BLKSSZGET stores one int, to which the pointer points.
    unsafe { raw::blksszget(device.as_raw_fd(), &raw mut size) }?;
    u32::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// The physical sector size: what the medium writes at once.
pub(super) fn physical_sector(device: &File) -> io::Result<u32> {
    let mut size: c_uint = 0;
    // SAFETY: BLKPBSZGET stores one unsigned int, to which the pointer points.
    unsafe { raw::blkpbszget(device.as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

/// True if the kernel would refuse writes to the device.
pub(super) fn is_read_only(device: &File) -> io::Result<bool> {
    let mut flag: c_int = 0;
    // SAFETY: BLKROGET stores one int, to which the pointer points.
    unsafe { raw::blkroget(device.as_raw_fd(), &raw mut flag) }?;
    Ok(flag != 0)
}

/// Makes filesystems that are mounted from now on see a device that cannot be
/// written, or one that can.
pub(super) fn set_read_only(device: &File, is_read_only: bool) -> io::Result<()> {
    let flag = c_int::from(is_read_only);
    // SAFETY: BLKROSET reads one int, to which the pointer points.
    unsafe { raw::blkroset(device.as_raw_fd(), &raw const flag) }?;
    Ok(())
}

/// Tells the device that it need not keep the range.
pub(super) fn discard(device: &File, extent: Extent) -> io::Result<()> {
    let range = [extent.start(), extent.len()];
    // SAFETY: BLKDISCARD reads two u64 from the pointer and keeps none of it.
    unsafe { raw::blkdiscard(device.as_raw_fd(), &raw const range) }?;
    Ok(())
}

/// Makes the range read as zeros, by the device's own command if it has one.
pub(super) fn zero_out(device: &File, extent: Extent) -> io::Result<()> {
    let range = [extent.start(), extent.len()];
    // SAFETY: BLKZEROOUT reads two u64 from the pointer and keeps none of it.
    unsafe { raw::blkzeroout(device.as_raw_fd(), &raw const range) }?;
    Ok(())
}

/// Asks the kernel to read the partition table again.
pub(super) fn reread_partitions(disk: &File) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument.
    unsafe { raw::blkrrpart(disk.as_raw_fd()) }?;
    Ok(())
}

/// Writes back and forgets what the page cache holds of the device.
pub(super) fn flush_buffers(device: &File) -> io::Result<()> {
    // SAFETY: BLKFLSBUF takes no argument.
    unsafe { raw::blkflsbuf(device.as_raw_fd()) }?;
    Ok(())
}

/// The flags of a file, such as "immutable".
pub(super) fn file_flags(file: &File) -> io::Result<c_long> {
    let mut flags: c_long = 0;
    // SAFETY: FS_IOC_GETFLAGS stores one int, to which the pointer points;
    // there is room for a long.
    unsafe { raw::fs_ioc_getflags(file.as_raw_fd(), &raw mut flags) }?;
    Ok(flags)
}

/// Sets the flags of a file.
pub(super) fn set_file_flags(file: &File, flags: c_long) -> io::Result<()> {
    // SAFETY: FS_IOC_SETFLAGS reads one int from the pointer, which points to
    // a long, and keeps none of it.
    unsafe { raw::fs_ioc_setflags(file.as_raw_fd(), &raw const flags) }?;
    Ok(())
}

/// The number of a loop device that is not in use.
pub(super) fn free_loop_number(control: &File) -> io::Result<c_int> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    Ok(unsafe { raw::loop_ctl_get_free(control.as_raw_fd()) }?)
}

/// Makes a loop device show a part of an open file or device.
pub(super) fn configure_loop(
    device: &File,
    backing: RawFd,
    extent: Extent,
    block_size: u32,
) -> io::Result<()> {
    let fd = backing.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let config = LoopConfig {
        fd,
        block_size,
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: extent.start(),
        size_limit: extent.len(),
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: LO_FLAGS_AUTOCLEAR,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one loop_config from the pointer and keeps
    // none of it; the kernel takes its own reference to the file behind `fd`.
    unsafe { raw::loop_configure(device.as_raw_fd(), &raw const config) }?;
    Ok(())
}

/// Detaches a loop device from what it shows.
pub(super) fn detach_loop(device: &File) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    unsafe { raw::loop_clr_fd(device.as_raw_fd()) }?;
    Ok(())
}

/// What came back from a SCSI command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScsiAnswer {
    /// How many bytes of the buffer were filled.
    pub(super) len: usize,
    /// 0 if all is well.
    pub(super) status: u8,
    /// What the adapter and its driver say; 0 if all is well.
    pub(super) transport: u32,
    /// What the device says about it.
    pub(super) sense: Vec<u8>,
}

/// Sends a SCSI command that fills `data`, and waits for at most `seconds`.
pub(super) fn scsi_read(
    device: &File,
    command: &[u8],
    data: &mut [u8],
    seconds: u32,
) -> io::Result<ScsiAnswer> {
    const FROM_DEVICE: c_int = -3;
    const NO_DATA: c_int = -1;
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut command = command.to_vec();
    let mut sense = [0_u8; 64];
    let mut header = SgIoHeader {
        interface_id: c_int::from(b'S'),
        dxfer_direction: if data.is_empty() { NO_DATA } else { FROM_DEVICE },
        cmd_len: command.len().try_into().map_err(too_large)?,
        mx_sb_len: sense.len().try_into().map_err(too_large)?,
        iovec_count: 0,
        dxfer_len: data.len().try_into().map_err(too_large)?,
        dxferp: data.as_mut_ptr().cast(),
        cmdp: command.as_mut_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: seconds.saturating_mul(1000),
        flags: 0,
        pack_id: 0,
        usr_ptr: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: SG_IO reads and stores one sg_io_hdr. Through its pointers it
    // reads cmd_len bytes and stores at most dxfer_len and mx_sb_len bytes,
    // which are the lengths of the three buffers; all of them live until the
    // call returns, and none is kept.
    unsafe { raw::sg_io(device.as_raw_fd(), &raw mut header) }?;
    let left = usize::try_from(header.resid).unwrap_or(0).min(data.len());
    Ok(ScsiAnswer {
        len: data.len() - left,
        status: header.status,
        // The driver's byte says among others that there is sense data.
        transport: u32::from(header.host_status),
        sense: sense[..usize::from(header.sb_len_wr).min(sense.len())].to_vec(),
    })
}

/// The numbers of the first and the last track of a disc.
pub(super) fn track_numbers(drive: &File) -> io::Result<(u8, u8)> {
    let mut header = CdromTocHeader::default();
    // SAFETY: CDROMREADTOCHDR stores one cdrom_tochdr, to which the pointer
    // points.
    unsafe { raw::cdrom_read_toc_header(drive.as_raw_fd(), &raw mut header) }?;
    Ok((header.first, header.last))
}

/// The first sector of a track, and its control field.
pub(super) fn track_entry(drive: &File, track: u8) -> io::Result<(i32, u8)> {
    let mut entry = CdromTocEntry { track, format: CDROM_LBA, ..CdromTocEntry::default() };
    // SAFETY: CDROMREADTOCENTRY reads and stores one cdrom_tocentry, to which
    // the pointer points.
    unsafe { raw::cdrom_read_toc_entry(drive.as_raw_fd(), &raw mut entry) }?;
    Ok((entry.address, entry.adr_control >> 4))
}

/// The first sector of the last session, if the disc has more than one.
pub(super) fn last_session(drive: &File) -> io::Result<Option<i32>> {
    let mut session = CdromMultisession { format: CDROM_LBA, ..CdromMultisession::default() };
    // SAFETY: CDROMMULTISESSION reads and stores one cdrom_multisession, to
    // which the pointer points.
    unsafe { raw::cdrom_multisession(drive.as_raw_fd(), &raw mut session) }?;
    Ok((session.xa_flag != 0).then_some(session.address))
}

/// What state a drive says it is in, a number of linux/cdrom.h.
pub(super) fn drive_status(drive: &File) -> io::Result<c_int> {
    // SAFETY: CDROM_DRIVE_STATUS takes the number of a slot, not a pointer.
    Ok(unsafe { raw::cdrom_drive_status(drive.as_raw_fd(), CDSL_CURRENT) }?)
}

/// Makes partition `number` of `disk` known to the kernel.
pub(super) fn add_partition(disk: &File, number: u32, extent: Extent) -> io::Result<()> {
    blkpg(disk, BLKPG_ADD_PARTITION, number, extent)
}

/// Makes the kernel forget partition `number` of `disk`.
pub(super) fn delete_partition(disk: &File, number: u32) -> io::Result<()> {
    blkpg(disk, BLKPG_DEL_PARTITION, number, Extent::new(0, 0))
}

fn blkpg(disk: &File, op: c_int, number: u32, extent: Extent) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut partition = BlkpgPartition {
        start: extent.start().try_into().map_err(too_large)?,
        length: extent.len().try_into().map_err(too_large)?,
        pno: number.try_into().map_err(too_large)?,
        devname: [0; 64],
        volname: [0; 64],
    };
    let request = BlkpgRequest {
        op,
        flags: 0,
        datalen: size_of::<BlkpgPartition>().try_into().map_err(too_large)?,
        data: (&raw mut partition).cast(),
    };
    // SAFETY: BLKPG reads a blkpg_ioctl_arg and, through its pointer, a
    // blkpg_partition; both live until the call returns and neither is kept.
    unsafe { raw::blkpg(disk.as_raw_fd(), &raw const request) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_structures_are_laid_out_as_in_the_kernel_headers() {
        assert_eq!(size_of::<BlkpgRequest>(), 24);
        assert_eq!(offset_of!(BlkpgRequest, data), 16);
        assert_eq!(size_of::<BlkpgPartition>(), 152);
        assert_eq!(offset_of!(BlkpgPartition, pno), 16);
        assert_eq!(offset_of!(BlkpgPartition, devname), 20);
        assert_eq!(size_of::<LoopConfig>(), 304);
        assert_eq!(offset_of!(LoopConfig, offset), 32);
        assert_eq!(offset_of!(LoopConfig, flags), 60);
        assert_eq!(offset_of!(LoopConfig, reserved), 240);
        assert_eq!(size_of::<SgIoHeader>(), 88);
        assert_eq!(offset_of!(SgIoHeader, dxferp), 16);
        assert_eq!(offset_of!(SgIoHeader, timeout), 40);
        assert_eq!(offset_of!(SgIoHeader, status), 64);
        assert_eq!(offset_of!(SgIoHeader, resid), 72);
        assert_eq!(size_of::<CdromTocHeader>(), 2);
        assert_eq!(size_of::<CdromTocEntry>(), 12);
        assert_eq!(offset_of!(CdromTocEntry, address), 4);
        assert_eq!(size_of::<CdromMultisession>(), 8);
    }

    #[test]
    fn a_regular_file_has_no_device_size() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(device_len(&file).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(logical_sector(&file).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
