# pip's output as a line for each package: `  [ 3/25] cryptography (4.8 MB)`. `of` is the number of packages.
# Everything else that pip says, such as errors, passes through.
function show() {
    if (name != "") { printf "  [%2d/%d] %s%s\n", count, of, name, size; fflush() }
    name = ""; size = ""
}
/^Collecting / { show(); count++; name = $2; sub(/==.*/, "", name); next }
/^Processing / { show(); count++; name = $2; sub(/.*\//, "", name); sub(/-.*/, "", name); next }
/^Requirement already satisfied/ { show(); count++; next }
/^Ignoring / { show(); count++; next }
/^ +Downloading .*\.metadata/ { next }
/^ +(Downloading|Using cached) / || /^(Downloading|Using cached) / { size = " " $(NF - 1) " " $NF; show(); next }
/^Installing collected packages/ { show(); print "  unpacking"; fflush(); next }
/^ +(Attempting uninstall|Found existing|Uninstalling|Successfully)/ { next }
/^Successfully / || /^ *$/ || /^(Looking in|Saved|Using pip) / { next }
{ show(); print; fflush() }
