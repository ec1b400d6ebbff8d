// SPDX-License-Identifier: MIT OR Apache-2.0
//! The types of partitions that people meet, in words.

/// Types of Windows dynamic disks, whose volumes are described elsewhere.
pub(super) const LDM: [&str; 2] =
    ["5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "af9b60a0-1431-4f62-bc68-3311714a69ad"];

/// The type in words, if it is in the list.
pub(super) fn name(type_id: &str) -> Option<&'static str> {
    TYPES.iter().find(|(guid, _)| *guid == type_id).map(|(_, name)| *name)
}

const TYPES: &[(&str, &str)] = &[
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI System"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot"),
    ("024dee41-33e7-11d3-9d69-0008c781f39f", "MBR partition scheme"),
    ("9e1a2d38-c612-4316-aa26-8b49521e5a8b", "PowerPC PReP boot"),
    ("e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft Reserved"),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Microsoft Basic Data"),
    ("de94bba4-06d1-4d40-a16a-bfd50179d6ac", "Windows Recovery"),
    ("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "Windows LDM metadata"),
    ("af9b60a0-1431-4f62-bc68-3311714a69ad", "Windows LDM data"),
    ("e75caf8f-f680-4cee-afa3-b001e56efc2d", "Windows Storage Spaces"),
    ("37affc90-ef7d-4e96-91c3-2d7ae055b174", "IBM General Parallel Filesystem"),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux filesystem"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"),
    ("ca7d7ccb-63ed-4c53-861c-1742536059cc", "Linux LUKS"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "Linux extended boot"),
    ("44479540-f297-41b2-9af7-d131d5f0458a", "Linux root (x86)"),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux root (x86-64)"),
    ("69dad710-2ce4-4e3c-b16c-21a1d49abed3", "Linux root (ARM)"),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", "Linux root (ARM-64)"),
    ("72ec70a6-cf74-40e6-bd49-4bda08e8f224", "Linux root (RISC-V-64)"),
    ("8484680c-9521-48c6-9c11-b0720656f69e", "Linux /usr (x86-64)"),
    ("b0e01050-ee5f-4390-949a-9101b17104e9", "Linux /usr (ARM-64)"),
    ("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5", "Linux root verity (x86-64)"),
    ("77ff5f63-e7b6-4633-acf4-1565b864c0e6", "Linux /usr verity (x86-64)"),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux home"),
    ("773f91ef-66d4-49b5-bd83-d683bf40ad16", "Linux user's home"),
    ("3b8f8425-20e0-4f3b-907f-1a25a76f98e8", "Linux server data"),
    ("4d21b016-b534-45c2-a9fb-5c16e091fd2d", "Linux variable data"),
    ("7ec6f557-3bc5-4aca-b293-16ef5df639d1", "Linux temporary data"),
    ("8da63339-0007-60c0-c436-083ac8230908", "Linux reserved"),
    ("48465300-0000-11aa-aa11-00306543ecac", "Apple HFS+"),
    ("7c3457ef-0000-11aa-aa11-00306543ecac", "Apple APFS"),
    ("55465300-0000-11aa-aa11-00306543ecac", "Apple UFS"),
    ("53746f72-6167-11aa-aa11-00306543ecac", "Apple Core Storage"),
    ("52414944-0000-11aa-aa11-00306543ecac", "Apple RAID"),
    ("52414944-5f4f-11aa-aa11-00306543ecac", "Apple RAID, offline"),
    ("426f6f74-0000-11aa-aa11-00306543ecac", "Apple Boot"),
    ("4c616265-6c00-11aa-aa11-00306543ecac", "Apple Label"),
    ("5265636f-7665-11aa-aa11-00306543ecac", "Apple TV Recovery"),
    ("69646961-6700-11aa-aa11-00306543ecac", "Apple Silicon boot"),
    ("52637672-7900-11aa-aa11-00306543ecac", "Apple Silicon Recovery"),
    ("83bd6b9d-7f41-11dc-be0b-001560b84f0f", "FreeBSD boot"),
    ("516e7cb4-6ecf-11d6-8ff8-00022d09712b", "FreeBSD data"),
    ("516e7cb5-6ecf-11d6-8ff8-00022d09712b", "FreeBSD swap"),
    ("516e7cb6-6ecf-11d6-8ff8-00022d09712b", "FreeBSD UFS"),
    ("516e7cb8-6ecf-11d6-8ff8-00022d09712b", "FreeBSD Vinum"),
    ("516e7cba-6ecf-11d6-8ff8-00022d09712b", "FreeBSD ZFS"),
    ("49f48d32-b10e-11dc-b99b-0019d1879648", "NetBSD swap"),
    ("49f48d5a-b10e-11dc-b99b-0019d1879648", "NetBSD FFS"),
    ("824cc7a0-36a8-11e3-890a-952519ad3f61", "OpenBSD data"),
    ("6a898cc3-1dd2-11b2-99a6-080020736631", "Solaris /usr or Apple ZFS"),
    ("6a85cf4d-1dd2-11b2-99a6-080020736631", "Solaris root"),
    ("fe3a2a5d-4f32-41a7-b725-accc3285a309", "ChromeOS kernel"),
    ("3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec", "ChromeOS root"),
    ("2e0a753d-9e48-43b0-8337-b15192cb1b5e", "ChromeOS reserved"),
    ("42465331-3ba3-10f1-802a-4861696b7521", "Haiku BFS"),
    ("aa31e02a-400f-11db-9590-000c2911d1b8", "VMware VMFS"),
    ("9d275380-40ad-11db-bf97-000c2911d1b8", "VMware diagnostic"),
];
