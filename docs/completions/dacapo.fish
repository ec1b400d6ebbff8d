# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_dacapo_global_optspecs
    string join \n q/quiet json h/help V/version
end

function __fish_dacapo_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_dacapo_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_dacapo_using_subcommand
    set -l cmd (__fish_dacapo_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c dacapo -n "__fish_dacapo_needs_command" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_needs_command" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_needs_command" -s V -l version -d 'Print version'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "disks" -d 'List the disks of this machine'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "save" -d 'Save a disk, a partition or a raw image file to an image'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "restore" -d 'Restore an image to a disk, a partition or a file'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "verify" -d 'Check that an image is whole and undamaged'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "compare" -d 'Compare a disk with an image'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "clone" -d 'Copy a disk to another disk'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "repair" -d 'Make a restored machine start again, step by step'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "import" -d 'Make an image of what another tool has saved'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "info" -d 'Show what an image holds'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "map" -d 'Print which ranges are in use, as a map for GNU ddrescue'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "ls" -d 'List the volumes of an image, and their files'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "extract" -d 'Copy files and folders out of an image'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "find" -d 'Find files of an image by their names'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "diff" -d 'List the files that differ between two images, or an image and a disk'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "mount" -d 'Show an image as a folder, to open its files with any program'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "serve" -d 'Serve an image to QEMU, nbd-client and others as a disk'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "export" -d 'Write an image to a file for virtual machines or other programs'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "disc" -d 'Archive optical discs as ISO files, and look after them'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "tui" -d 'Do all of this on a screen, with menus'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "rescue" -d 'Make the medium that starts a machine without a system'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "network" -d 'Show and set up the network of the rescue system'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "demo" -d 'Show a save and a restore on a small disk in a temporary folder'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "completions" -d 'Print a script that completes dacapo\'s commands in a shell'
complete -c dacapo -n "__fish_dacapo_needs_command" -f -a "man" -d 'Write the manual pages into a folder'
complete -c dacapo -n "__fish_dacapo_using_subcommand disks" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand disks" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand disks" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l label -d 'Name of this backup, kept in the image' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l note -d 'Remark, kept in the image' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l level -d 'Compression from 1 (fast) to 19 (small)' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l rescue -d 'File to read a failing drive into, instead of IMAGE.rescue' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l retries -d 'Try bad sectors N times more in the end' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l max-time -d 'Make the image of what could be read until then: 90m, 8h, 2d' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l with -d 'Another disk over which a filesystem or volume group is spread' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l sector-size -d 'Sector size, if SOURCE is the file of a disk with 4096' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l chunk-size -d 'Size of a piece of the image, for measurements' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l dry-run -d 'Show what would be saved, and write nothing'
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l raw -d 'Save every byte, free space included'
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l resume -d 'Go on with an interrupted save'
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l in-place -d 'Read a failing drive front to back, too'
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand save" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -s p -l partition -d 'Restore only this partition of the image' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -l free -d 'What to do with ranges that hold no data' -r -f -a "auto\t'Discard where the disk can, else leave'
leave\t'Leave what is there'
discard\t'Tell the disk that it may forget them (TRIM)'
zero\t'Write zeros: slow, but no old data stays behind'"
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -l fill -d 'What to write where the source could not be read' -r -f -a "zeros\t'Zeros'
pattern\t'A text that can be searched for: DACAPO: THIS COULD NOT BE READ'"
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -l confirm -d 'Serial number of the disk or drive that may be written to' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -l dry-run -d 'Show what would be done, and write nothing'
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -l fit -d 'Fit onto a smaller disk, if all data lies in front of its end'
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -l no-verify -d 'Do not read back what was written'
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -l yes -d 'Do not ask; a disk or drive needs --confirm, too'
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand verify" -l quick -d 'Check structure and index only, not the data'
complete -c dacapo -n "__fish_dacapo_using_subcommand verify" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand verify" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand compare" -s p -l partition -d 'Compare DISK with this partition of the image' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand compare" -l all -d 'List every range that differs, not only the first ones'
complete -c dacapo -n "__fish_dacapo_using_subcommand compare" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand compare" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand compare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l with -d 'Another disk over which a filesystem or volume group is spread' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l sector-size -d 'Sector size, if SOURCE is the file of a disk with 4096' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l free -d 'What to do with ranges that hold no data' -r -f -a "auto\t'Discard where the disk can, else leave'
leave\t'Leave what is there'
discard\t'Tell the disk that it may forget them (TRIM)'
zero\t'Write zeros: slow, but no old data stays behind'"
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l fill -d 'What to write where the source could not be read' -r -f -a "zeros\t'Zeros'
pattern\t'A text that can be searched for: DACAPO: THIS COULD NOT BE READ'"
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l confirm -d 'Serial number of the disk or drive that may be written to' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l dry-run -d 'Show what would be done, and write nothing'
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l fit -d 'Fit onto a smaller disk, if all data lies in front of its end'
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l no-verify -d 'Do not read back what was written'
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l yes -d 'Do not ask; a disk or drive needs --confirm, too'
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand clone" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand repair" -s s -l step -d 'Step to run; several are run in this order' -r -f -a "boot-entry\t''
fallback-loader\t''
backup-gpt\t''
grow\t''"
complete -c dacapo -n "__fish_dacapo_using_subcommand repair" -l confirm -d 'Serial number of the disk or drive that may be written to' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand repair" -l firmware -d 'Folder in place of /sys/firmware/efi' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand repair" -l dry-run -d 'Show what would be done, and write nothing'
complete -c dacapo -n "__fish_dacapo_using_subcommand repair" -l yes -d 'Do not ask; a disk or drive needs --confirm, too'
complete -c dacapo -n "__fish_dacapo_using_subcommand repair" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand repair" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand repair" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -l label -d 'Name of this backup, kept in the image' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -l note -d 'Remark, kept in the image' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -l level -d 'Compression from 1 (fast) to 19 (small)' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -l scratch -d 'Folder for the temporary file' -r -f -a "(__fish_complete_directories)"
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -l mapfile -d 'Mapfile of GNU ddrescue, if OLD is a drive that it has rescued' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -l disk -d 'Which disk of a Clonezilla folder that has several' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -l sector-size -d 'Sector size of the disk, if it had 4096' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -l dry-run -d 'Check and show what would be imported, and write no image'
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand info" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand info" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand info" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand map" -s p -l partition -d 'Only this partition; positions count from its start' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand map" -s o -l output -d 'File to write instead of standard output' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand map" -l with -d 'Another disk over which a filesystem or volume group is spread' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand map" -l sector-size -d 'Sector size, if SOURCE is the file of a disk with 4096' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand map" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand map" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand map" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand ls" -l with -d 'Another image or disk that a filesystem or group is spread over' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand ls" -s l -l long -d 'Show permissions, owner, size and date'
complete -c dacapo -n "__fish_dacapo_using_subcommand ls" -s R -l recursive -d 'List all that is in folders, too'
complete -c dacapo -n "__fish_dacapo_using_subcommand ls" -s b -l bytes -d 'Show sizes in bytes'
complete -c dacapo -n "__fish_dacapo_using_subcommand ls" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand ls" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand extract" -l with -d 'Another image or disk that a filesystem or group is spread over' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand extract" -l stdout -d 'Write one file to standard output; there is no DEST'
complete -c dacapo -n "__fish_dacapo_using_subcommand extract" -l overwrite -d 'Replace files that are there'
complete -c dacapo -n "__fish_dacapo_using_subcommand extract" -l special -d 'Make devices, pipes and sockets, too (as root)'
complete -c dacapo -n "__fish_dacapo_using_subcommand extract" -l setuid -d 'Keep setuid and setgid bits and capabilities of programs'
complete -c dacapo -n "__fish_dacapo_using_subcommand extract" -l streams -d 'Extract further streams of files (NTFS, HFS, HFS+, APFS) as NAME:STREAM'
complete -c dacapo -n "__fish_dacapo_using_subcommand extract" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand extract" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand extract" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand find" -l with -d 'Another image or disk that a filesystem or group is spread over' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand find" -s i -l ignore-case -d 'Letters of another case are the same on all volumes'
complete -c dacapo -n "__fish_dacapo_using_subcommand find" -s b -l bytes -d 'Show sizes in bytes'
complete -c dacapo -n "__fish_dacapo_using_subcommand find" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand find" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand find" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand diff" -l with -d 'Another image or disk that a filesystem or group is spread over' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand diff" -l other-with -d 'Another image or disk that IMAGE_OR_DISK is spread over' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand diff" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand diff" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand mount" -l scratch -d 'Folder for what is written [default: $TMPDIR, or /var/tmp]' -r -f -a "(__fish_complete_directories)"
complete -c dacapo -n "__fish_dacapo_using_subcommand mount" -l with -d 'Another image or disk that a filesystem or group is spread over' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand mount" -l writable -d 'Let programs write to the .img files; changes are lost at the end'
complete -c dacapo -n "__fish_dacapo_using_subcommand mount" -l allow-other -d 'Let other users in, as far as the permissions of the files allow'
complete -c dacapo -n "__fish_dacapo_using_subcommand mount" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand mount" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand mount" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -l socket -d 'Listen at a socket in the filesystem instead of a port' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -l port -d 'Port to listen at; 0 takes a free one' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -l bind -d 'Address to listen at; others than this machine can read all of it then' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -l scratch -d 'Folder for what is written [default: $TMPDIR, or /var/tmp]' -r -f -a "(__fish_complete_directories)"
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -l sector-size -d 'Sector size, if IMAGE is the file of a disk with 4096' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -l with -d 'Another image or disk that a filesystem or group is spread over' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -l overlay -d 'Let clients write; what they write is thrown away in the end'
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand export" -s f -l format -d 'Format: raw, qcow2, vhdx, vmdk or vdi' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand export" -s p -l partition -d 'Only this partition' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand export" -l overwrite -d 'Replace OUT if it is there'
complete -c dacapo -n "__fish_dacapo_using_subcommand export" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand export" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and not __fish_seen_subcommand_from read info verify scan list write" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and not __fish_seen_subcommand_from read info verify scan list write" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and not __fish_seen_subcommand_from read info verify scan list write" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and not __fish_seen_subcommand_from read info verify scan list write" -f -a "read" -d 'Read a disc to an ISO file'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and not __fish_seen_subcommand_from read info verify scan list write" -f -a "info" -d 'Show what a disc says of itself'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and not __fish_seen_subcommand_from read info verify scan list write" -f -a "verify" -d 'Check archived discs against what they were'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and not __fish_seen_subcommand_from read info verify scan list write" -f -a "scan" -d 'Check all archived discs of a folder'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and not __fish_seen_subcommand_from read info verify scan list write" -f -a "list" -d 'List the archived discs of a folder'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and not __fish_seen_subcommand_from read info verify scan list write" -f -a "write" -d 'Write an archived disc to a disc'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -l title -d 'Title of the disc, kept in the .json' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -l note -d 'Remark, kept in the .json' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -l serial -d 'Serial number or licence of what is on it, kept in the .json' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -l retries -d 'Try bad sectors again this many times' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -l merge -d 'Another drive with the same disc, or a file of it, that fills gaps' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -l resume -d 'Go on with a disc that was interrupted or could not be read whole'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -l raw -d 'Store a CD with sound: raw sectors (.bin) and a cue sheet'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from read" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from info" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from info" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from info" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from verify" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from verify" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from scan" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from scan" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from scan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from list" -l html -d 'Write a page for a browser to this file' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from list" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from write" -l confirm -d 'Serial number of the disk or drive that may be written to' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from write" -l dry-run -d 'Show what would be done, and write nothing'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from write" -l no-verify -d 'Do not read back what was written'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from write" -l yes -d 'Do not ask; a disk or drive needs --confirm, too'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from write" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from write" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand disc; and __fish_seen_subcommand_from write" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand tui" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand tui" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand tui" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and not __fish_seen_subcommand_from build write auto" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and not __fish_seen_subcommand_from build write auto" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and not __fish_seen_subcommand_from build write auto" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and not __fish_seen_subcommand_from build write auto" -f -a "build" -d 'Build the rescue system as one file for CD and USB stick'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and not __fish_seen_subcommand_from build write auto" -f -a "write" -d 'Write the rescue system to a USB stick'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and not __fish_seen_subcommand_from build write auto" -f -a "auto" -d 'Restore as the kernel\'s command line asks for, without a question'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l packages -d 'Folder of Debian packages to take instead of fetching them' -r -f -a "(__fish_complete_directories)"
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l kernel -d 'Kernel to take instead of Debian\'s' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l modules -d 'Modules of that kernel: its folder /lib/modules/VERSION' -r -f -a "(__fish_complete_directories)"
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l firmware -d 'Folder of firmware files to put in, as in /lib/firmware' -r -f -a "(__fish_complete_directories)"
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l program -d 'Static dacapo to put in; else this program, if it is static' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l init -d 'Static init program to put in; else dacapo-init beside this program' -r -F
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l append -d 'Arguments for the kernel to add to the boot menu' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l dry-run -d 'Fetch and show what would be in it, and write nothing'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l initramfs-only -d 'Write kernel and initramfs into the folder OUT.iso, for emulators'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from build" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from write" -l confirm -d 'Serial number of the disk or drive that may be written to' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from write" -l dry-run -d 'Show what would be done, and write nothing'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from write" -l no-verify -d 'Do not read back what was written'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from write" -l yes -d 'Do not ask; a disk or drive needs --confirm, too'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from write" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from write" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from write" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from auto" -l command-line -d 'Text to take for the kernel\'s command line' -r
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from auto" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from auto" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand rescue; and __fish_seen_subcommand_from auto" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and not __fish_seen_subcommand_from set connect disconnect" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and not __fish_seen_subcommand_from set connect disconnect" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and not __fish_seen_subcommand_from set connect disconnect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and not __fish_seen_subcommand_from set connect disconnect" -f -a "set" -d 'Give a network card an address'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and not __fish_seen_subcommand_from set connect disconnect" -f -a "connect" -d 'Connect a folder of another machine, and print where it is then'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and not __fish_seen_subcommand_from set connect disconnect" -f -a "disconnect" -d 'Disconnect every folder that was connected'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from set" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from connect" -l write -d 'Allow writing, to save images there'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from connect" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from connect" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from connect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from disconnect" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from disconnect" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand network; and __fish_seen_subcommand_from disconnect" -s h -l help -d 'Print help'
complete -c dacapo -n "__fish_dacapo_using_subcommand demo" -l keep -d 'Folder in which the files are made and kept' -r -f -a "(__fish_complete_directories)"
complete -c dacapo -n "__fish_dacapo_using_subcommand demo" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand demo" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dacapo -n "__fish_dacapo_using_subcommand completions" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand completions" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand completions" -s h -l help -d 'Print help'
complete -c dacapo -n "__fish_dacapo_using_subcommand man" -s q -l quiet -d 'Print errors and results only'
complete -c dacapo -n "__fish_dacapo_using_subcommand man" -l json -d 'Print JSON, one object a line, instead of text'
complete -c dacapo -n "__fish_dacapo_using_subcommand man" -s h -l help -d 'Print help'
