"""What tests share: photos, servers, processes and runs made for them."""
